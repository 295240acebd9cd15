//! Descriptors that whoever started us left open at agreed numbers.
#![expect(unsafe_code, reason = "a number is turned into an owned descriptor")]
// UNSAFETY: nothing in the language says who owns a descriptor number that was inherited through exec.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};

/// Takes the inherited descriptor `number`, which must be taken only once, and closes it on exec.
pub(crate) fn take(number: RawFd) -> rustix::io::Result<OwnedFd> {
    if number < 3 {
        return Err(Errno::BADF);
    }
    {
        // SAFETY: the borrow ends before the descriptor is owned; a number that is not open fails below.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        let flags = fcntl_getfd(borrowed)?;
        fcntl_setfd(borrowed, flags | FdFlags::CLOEXEC)?;
    }
    // SAFETY: it is open, as was just seen, and by the contract nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
