//! Reading files into guest memory and writing them from it, without a copy in between.
#![expect(
    unsafe_code,
    reason = "guest memory is shared with the guest, so it can't be a slice for std or rustix"
)]
// UNSAFETY: preadv and pwritev take raw addresses; the safe wrappers take `&mut [u8]` and `&[u8]`,
// which the guest's concurrent writes would make undefined behaviour.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use vm_memory::VolatileSlice;

/// The kernel's limit for one call (`UIO_MAXIOV`).
const MAX_VECTORS: usize = 1024;

/// Fills `slices`, in order, from `file` at `offset`. A file that ends before that is an error.
pub(super) fn read_into(file: &File, offset: u64, slices: &[VolatileSlice<'_>]) -> io::Result<()> {
    // The guards keep the addresses mapped; every slice lives as long as the call besides.
    let guards: Vec<_> = slices.iter().map(VolatileSlice::ptr_guard_mut).collect();
    let vectors = guards.iter().map(|guard| libc::iovec {
        iov_base: guard.as_ptr().cast(),
        iov_len: guard.len(),
    });
    transfer(vectors.collect(), offset, |vectors, count, offset| {
        // SAFETY: the vectors are `count` entries that point to mapped guest memory of the given
        // lengths, which the guards keep; nothing in our process holds a reference into it.
        unsafe { libc::preadv64(file.as_raw_fd(), vectors, count, offset) }
    })
}

/// Writes `slices`, in order, to `file` at `offset`.
pub(super) fn write_from(file: &File, offset: u64, slices: &[VolatileSlice<'_>]) -> io::Result<()> {
    let guards: Vec<_> = slices.iter().map(VolatileSlice::ptr_guard).collect();
    let vectors = guards.iter().map(|guard| libc::iovec {
        iov_base: guard.as_ptr().cast_mut().cast(),
        iov_len: guard.len(),
    });
    transfer(vectors.collect(), offset, |vectors, count, offset| {
        // SAFETY: as in `read_into`; the kernel only reads through these addresses.
        unsafe { libc::pwritev64(file.as_raw_fd(), vectors, count, offset) }
    })
}

/// Calls `call` until all of `vectors` is transferred.
fn transfer(
    mut vectors: Vec<libc::iovec>,
    mut offset: u64,
    call: impl Fn(*const libc::iovec, libc::c_int, libc::off64_t) -> libc::ssize_t,
) -> io::Result<()> {
    let mut rest = &mut vectors[..];
    while !rest.is_empty() {
        let count = libc::c_int::try_from(rest.len().min(MAX_VECTORS)).unwrap_or(1);
        let position = libc::off64_t::try_from(offset).map_err(io::Error::other)?;
        match usize::try_from(call(rest.as_ptr(), count, position)) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(done) => {
                offset += done as u64;
                rest = advance(rest, done);
            }
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// What of `vectors` is left after `done` bytes.
fn advance(vectors: &mut [libc::iovec], mut done: usize) -> &mut [libc::iovec] {
    let whole = vectors
        .iter()
        .take_while(|vector| match done.checked_sub(vector.iov_len) {
            Some(less) => {
                done = less;
                true
            }
            None => false,
        })
        .count();
    let rest = &mut vectors[whole..];
    if let Some(first) = rest.first_mut() {
        first.iov_base = first.iov_base.cast::<u8>().wrapping_add(done).cast();
        first.iov_len -= done;
    }
    rest
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Transfers into buffers of the given lengths, `step` bytes a call; gives the file offset and
    /// the number of bytes that each call asks for.
    fn transfer_in_steps(lengths: &[usize], step: usize) -> io::Result<Vec<(i64, usize)>> {
        let vectors = lengths.iter().map(|len| libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: *len,
        });
        let calls = RefCell::new(Vec::new());
        let left = RefCell::new(lengths.iter().sum::<usize>());
        transfer(vectors.collect(), 100, |_, count, offset| {
            let mut left = left.borrow_mut();
            assert!(count > 0 && usize::try_from(count).unwrap() <= lengths.len());
            calls.borrow_mut().push((offset, *left));
            let done = step.min(*left);
            *left -= done;
            libc::ssize_t::try_from(done).unwrap()
        })?;
        Ok(calls.into_inner())
    }

    #[test]
    fn a_transfer_goes_on_where_the_kernel_stopped() {
        let calls = transfer_in_steps(&[3, 4, 5], 5).unwrap();
        assert_eq!(calls, [(100, 12), (105, 7), (110, 2)]);
        assert_eq!(transfer_in_steps(&[3, 4, 5], 12).unwrap().len(), 1);
        assert_eq!(transfer_in_steps(&[], 1).unwrap(), []);
    }

    #[test]
    fn a_transfer_that_makes_no_progress_is_the_end_of_the_file() {
        let error = transfer_in_steps(&[8], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_left_begins_within_a_buffer() {
        let base: *mut libc::c_void = std::ptr::null_mut();
        let mut vectors = [3, 4, 5].map(|iov_len| libc::iovec {
            iov_base: base,
            iov_len,
        });
        let rest = advance(&mut vectors, 5);
        let left: Vec<_> = rest
            .iter()
            .map(|v| (v.iov_base.addr(), v.iov_len))
            .collect();
        assert_eq!(left, [(2, 2), (0, 5)]);
        assert_eq!(advance(rest, 7).len(), 0);
    }
}
