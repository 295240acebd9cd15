//! vsock sockets for the event loop. Any stream socket reads and writes alike, so a connection is used
//! through tokio's type for unix sockets; only accepting differs, as there the address matters.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;

use rustix::net::{SocketFlags, accept_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

use crate::sys::readiness::watch;
use crate::sys::vsock::is_from_host;

/// A listening vsock socket.
#[derive(Debug)]
pub(crate) struct Listener(AsyncFd<OwnedFd>);

impl Listener {
    /// Takes a listening socket that does not block.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        watch(socket, Interest::READABLE).map(Self)
    }

    /// The next connection of the host. Nobody in the guest gives orders.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        loop {
            let accepted = self
                .0
                .async_io(Interest::READABLE, |socket| Ok(accept_with(socket, flags)?))
                .await?;
            if is_from_host(&accepted) {
                return stream(accepted);
            }
            tracing::warn!("connection refused: not from the host");
        }
    }
}

/// A connected, or connecting, socket that does not block.
pub(crate) fn stream(socket: OwnedFd) -> io::Result<UnixStream> {
    UnixStream::from_std(StdStream::from(socket))
}

/// Waits until a connecting socket is connected.
pub(crate) async fn connected(stream: &UnixStream) -> io::Result<()> {
    stream.writable().await?;
    match stream.take_error()? {
        None => Ok(()),
        Some(error) => Err(error),
    }
}
