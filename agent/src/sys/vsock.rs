//! vsock(7) addresses: listen in a guest, connect to the host.
#![expect(unsafe_code, reason = "no safe binding of vsock addresses exists")]
// UNSAFETY: bind and connect take a pointer to an address and its size.

use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, listen, socket_with};

use super::checked;

/// A listening socket on `port`, from wherever it is called.
pub(crate) fn listener(port: u32) -> rustix::io::Result<OwnedFd> {
    let socket = socket()?;
    let address = address(libc::VMADDR_CID_ANY, port);
    // SAFETY: the address is initialised and the size is its own.
    checked(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), LENGTH) }.into())?;
    listen(&socket, 128)?;
    Ok(socket)
}

/// Begins to connect to `port` of the host. The socket is writable once that is settled.
pub(crate) fn connect_to_host(port: u32) -> rustix::io::Result<OwnedFd> {
    let socket = socket()?;
    let address = address(libc::VMADDR_CID_HOST, port);
    // SAFETY: the address is initialised and the size is its own.
    let returned =
        unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), LENGTH) };
    match checked(returned.into()) {
        Ok(_) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Whether the other side of a connection is the host, rather than somebody in this guest.
pub(crate) fn is_from_host(socket: &OwnedFd) -> bool {
    let mut peer = address(libc::VMADDR_CID_ANY, 0);
    let mut length = LENGTH;
    // SAFETY: the address has room for as many bytes as the length says.
    let returned =
        unsafe { libc::getpeername(socket.as_raw_fd(), (&raw mut peer).cast(), &raw mut length) };
    returned == 0 && length == LENGTH && peer.svm_cid == libc::VMADDR_CID_HOST
}

#[expect(clippy::cast_possible_truncation, reason = "16 bytes")]
const LENGTH: libc::socklen_t = size_of::<libc::sockaddr_vm>() as libc::socklen_t;

fn socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::VSOCK, SocketType::STREAM, flags, None)
}

fn address(cid: u32, port: u32) -> libc::sockaddr_vm {
    libc::sockaddr_vm {
        svm_family: libc::sa_family_t::try_from(libc::AF_VSOCK).expect("40"),
        svm_reserved1: 0,
        svm_port: port,
        svm_cid: cid,
        svm_zero: [0; 4],
    }
}
