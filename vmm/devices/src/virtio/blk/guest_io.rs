//! Reading files into guest memory and writing them from it, without a copy in between.
#![expect(
    unsafe_code,
    reason = "guest memory is shared with the guest, so it can't be a slice for std or rustix"
)]
// UNSAFETY: preadv and pwritev take raw addresses; the safe wrappers take `&mut [u8]` and `&[u8]`, which the
// guest's concurrent writes would make undefined behaviour.

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
        // SAFETY: the vectors are `count` entries that point to mapped guest memory of the given lengths, which the
        // guards keep; nothing in our process holds a reference into it.
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
