//! Tells the host that the agent listens, so that nobody has to ask again and again.

use std::io::Write;
use std::os::unix::net::UnixStream;

use agent_api::version::AGENT_PORT;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::sys::vsock;

/// How long the host may take to accept.
const ACCEPTED_WITHIN: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

/// Connects to the host's port of the same number, says our version in one line, and closes.
pub(super) fn tell_host() -> rustix::io::Result<()> {
    let socket = vsock::connect_to_host(AGENT_PORT)?;
    let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
    if poll(&mut fds, Some(&ACCEPTED_WITHIN))? == 0 {
        return Err(Errno::TIMEDOUT);
    }
    rustix::net::sockopt::socket_error(&socket)??;
    rustix::io::ioctl_fionbio(&socket, false)?;
    // Any stream socket reads and writes alike.
    let mut stream = UnixStream::from(socket);
    let line = format!("{}\n", crate::mode::version());
    stream
        .write_all(line.as_bytes())
        .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
}
