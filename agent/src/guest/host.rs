//! What ties a guest to its host. All of it is made before the host is told that we are ready: from then on
//! others run here, and the host takes nobody's word any more for being the agent.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use agent_api::version::{AGENT_PORT, KERNEL_LOG_PORT, LOG_PORT};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::sys::vsock;

/// How long the host may take to accept.
const ACCEPTED_WITHIN: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

/// Our sockets; none blocks.
#[derive(Debug)]
pub(super) struct Host {
    /// Where the host's calls come in.
    pub(super) calls: OwnedFd,
    /// For the output of containers.
    pub(super) log: OwnedFd,
    /// For what the kernel says. The host may have refused it.
    pub(super) kernel_log: OwnedFd,
}

impl Host {
    /// Makes them, and tells the host that we listen, so that nobody has to ask again and again.
    pub(super) fn reach() -> rustix::io::Result<Self> {
        let calls = vsock::listener(AGENT_PORT)?;
        // The host answers in this order: waiting for the last is waiting for all.
        let log = vsock::connect_to_host(LOG_PORT)?;
        let kernel_log = vsock::connect_to_host(KERNEL_LOG_PORT)?;
        tell_ready()?;
        accepted(&log)?;
        Ok(Self {
            calls,
            log,
            kernel_log,
        })
    }
}

/// Connects to the host's port of the same number as ours, says our version in one line, and closes.
fn tell_ready() -> rustix::io::Result<()> {
    let socket = vsock::connect_to_host(AGENT_PORT)?;
    accepted(&socket)?;
    rustix::io::ioctl_fionbio(&socket, false)?;
    // Any stream socket reads and writes alike.
    let mut stream = UnixStream::from(socket);
    let line = format!("{}\n", crate::mode::version());
    stream
        .write_all(line.as_bytes())
        .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
}

/// Waits until the host has accepted a connection.
fn accepted(socket: &OwnedFd) -> rustix::io::Result<()> {
    let mut fds = [PollFd::new(socket, PollFlags::OUT)];
    if poll(&mut fds, Some(&ACCEPTED_WITHIN))? == 0 {
        return Err(Errno::TIMEDOUT);
    }
    rustix::net::sockopt::socket_error(socket)?
}
