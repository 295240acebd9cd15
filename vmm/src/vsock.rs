//! Streams between guest and host: virtio-vsock on the guest's side, unix sockets and ourselves on the host's.
//!
//! A host program connects to the machine's unix socket, writes `CONNECT <port>\n`, reads `OK <port>\n`
//! and then talks to whoever listens on that port in the guest. The guest, on its side, can reach a few
//! services of this process and nothing else of the host.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use vmm_devices::host_warn;
use vmm_devices::virtio::vsock::HOST_CID;

use crate::event_loop::EventLoop;

mod connection;
mod credit;
mod greeting;
mod mux;
mod ports;
mod socket_end;
mod tick;
mod token;
mod visitors;

#[cfg(fuzzing)]
pub use mux::fuzzing::Streams;
pub(crate) use mux::{Connect, Mux};

/// Address of the guest: every guest's, since no guest sees another.
pub(crate) const GUEST_CID: u64 = 3;
/// The port that the agent connects to when it is ready.
pub(crate) const READY_PORT: u32 = 1024;

/// How long we wait for an answer that a well-behaved guest or program gives at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// The host's end of one stream. No call blocks; `WouldBlock` means to try again later.
pub(crate) trait HostEnd: Send {
    /// Bytes for the guest; none means that there will be no more.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Takes bytes from the guest, at least one. `InvalidData` ends the stream.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// The guest will send no more.
    fn guest_finished(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// What to wait for before trying again. An end without one always takes what it is given, and may
    /// have an answer after that.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

fn unwatch(events: &EventLoop, fd: impl AsFd) {
    if let Err(error) = events.remove(fd) {
        host_warn!(%error, "a descriptor can't be left alone");
    }
}
