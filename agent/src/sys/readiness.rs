//! Descriptors in the event loop.
#![expect(
    unsafe_code,
    reason = "tokio leaves it to the caller that a descriptor stays open"
)]
// UNSAFETY: the event loop knows a descriptor by its number, which must not become another file's.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has the event loop watch `fd`, which should not block.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the value returned owns the descriptor and is taken off the event loop before it closes
    // it; `OwnedFd` always has the same number. Nobody here replaces the content of an `AsyncFd`.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}
