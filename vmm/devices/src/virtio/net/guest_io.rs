//! Reading a frame into guest memory and sending one from it, without a copy in between.
#![expect(
    unsafe_code,
    reason = "guest memory is shared with the guest, so it can't be a slice for std or rustix"
)]
// UNSAFETY: readv and writev take raw addresses; the safe wrappers take `&mut [u8]` and `&[u8]`,
// which the guest's concurrent writes would make undefined behaviour.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use vm_memory::VolatileSlice;

/// The kernel's limit for one call (`UIO_MAXIOV`). A frame in more pieces is cut there.
pub(super) const MAX_VECTORS: usize = 1024;

/// Reads one frame into `slices`, in order. Gives its length, cut to theirs.
pub(super) fn read_frame(fd: BorrowedFd<'_>, slices: &[VolatileSlice<'_>]) -> io::Result<u64> {
    // The guards keep the addresses mapped; every slice lives as long as the call besides.
    let guards: Vec<_> = slices.iter().map(VolatileSlice::ptr_guard_mut).collect();
    let vectors = guards.iter().map(|guard| libc::iovec {
        iov_base: guard.as_ptr().cast(),
        iov_len: guard.len(),
    });
    transfer(vectors, |vectors, count| {
        // SAFETY: the vectors are `count` entries that point to mapped guest memory of the given
        // lengths, which the guards keep; nothing in our process holds a reference into it.
        unsafe { libc::readv(fd.as_raw_fd(), vectors, count) }
    })
}

/// Sends `slices`, in order, as one frame.
pub(super) fn write_frame(fd: BorrowedFd<'_>, slices: &[VolatileSlice<'_>]) -> io::Result<u64> {
    let guards: Vec<_> = slices.iter().map(VolatileSlice::ptr_guard).collect();
    let vectors = guards.iter().map(|guard| libc::iovec {
        iov_base: guard.as_ptr().cast_mut().cast(),
        iov_len: guard.len(),
    });
    transfer(vectors, |vectors, count| {
        // SAFETY: as in `read_frame`; the kernel only reads through these addresses.
        unsafe { libc::writev(fd.as_raw_fd(), vectors, count) }
    })
}

fn transfer(
    vectors: impl Iterator<Item = libc::iovec>,
    call: impl Fn(*const libc::iovec, libc::c_int) -> libc::ssize_t,
) -> io::Result<u64> {
    let vectors: Vec<_> = vectors.take(MAX_VECTORS).collect();
    let count = libc::c_int::try_from(vectors.len()).expect("there are few");
    loop {
        match u64::try_from(call(vectors.as_ptr(), count)) {
            Ok(done) => return Ok(done),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
