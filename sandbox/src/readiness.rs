//! A descriptor whose readability can be awaited.

// UNSAFETY: tokio can't know that what it is given keeps its descriptor open, so registering is
// unsafe; here the type of the field says so.
#![expect(unsafe_code, reason = "AsyncFd::register_with_interest is unsafe")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// A descriptor whose readability can be awaited.
#[derive(Debug)]
pub(crate) struct Readiness(AsyncFd<OwnedFd>);

impl Readiness {
    /// Of a descriptor that the kernel can poll.
    pub(crate) fn of(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` stays open until it is dropped, and nobody can replace the one inside.
        let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// Resolves when there is something to read, or the other side is gone.
    pub(crate) async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
        self.0.readable().await
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
