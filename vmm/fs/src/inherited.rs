//! The descriptors that this process was started with.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use rustix::net::{SocketType, sockopt};

/// Where the socket is that the VMM is connected to.
const LISTENER: i32 = 3;
/// Whatever whoever started us wants to be open as long as we live, such as a file with a lock on it.
const HELD: i32 = 4;

/// What we were started with is not what we need.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InheritedError {
    /// Descriptor 3 is something else.
    #[error("descriptor 3 is no listening SOCK_STREAM socket")]
    NoSocket,
    /// It can't be asked what it is.
    #[error("look at descriptor 3")]
    Look(#[source] io::Error),
    /// Other descriptors can't be closed.
    #[error("close what else was inherited")]
    Close(#[source] io::Error),
}

/// Takes the listening socket, and closes every other descriptor that was inherited, but for stdin, stdout,
/// stderr, and descriptor 4, which stays open and is not touched. Must be the first thing that happens in
/// the process.
#[expect(
    unsafe_code,
    reason = "an inherited descriptor is known by its number alone"
)]
pub(crate) fn listener() -> Result<UnixListener, InheritedError> {
    // UNSAFETY: no safe interface gives a number an owner, or closes what nobody owns.
    // SAFETY: no code of ours has opened a descriptor yet, so nothing here owns one from 5 on.
    if unsafe { libc::close_range(HELD.unsigned_abs() + 1, libc::c_uint::MAX, 0) } != 0 {
        return Err(InheritedError::Close(io::Error::last_os_error()));
    }
    // SAFETY: nothing owns descriptor 3 for the same reason; if it is not open, using it fails, and it
    // is forgotten.
    let socket = unsafe { OwnedFd::from_raw_fd(LISTENER) };
    match check(&socket) {
        Ok(true) => Ok(socket.into()),
        Ok(false) => Err(InheritedError::NoSocket),
        Err(error) => {
            // It may not be open, and then closing it would be a mistake, too.
            std::mem::forget(socket);
            Err(InheritedError::Look(error.into()))
        }
    }
}

fn check(socket: &OwnedFd) -> rustix::io::Result<bool> {
    rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC)?;
    Ok(sockopt::socket_type(socket)? == SocketType::STREAM && sockopt::socket_acceptconn(socket)?)
}
