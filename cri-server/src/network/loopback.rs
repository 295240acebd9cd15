//! Brings the loopback interface up, by one message to the kernel's routing socket.

use std::io;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{recv, sendto, socket_with};

/// rtnetlink(7), netlink(7).
const RTM_NEWLINK: u16 = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const IFF_UP: u32 = 1;
/// The first interface of every namespace.
const LOOPBACK_INDEX: u32 = 1;

/// Brings up the loopback interface of the calling thread's network namespace.
pub(super) fn bring_up() -> io::Result<()> {
    // NETLINK_ROUTE is protocol 0.
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, &request(), SendFlags::empty(), &kernel)?;
    let mut answer = [0u8; 512];
    let (len, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    acknowledged(&answer[..len])
}

/// `struct nlmsghdr` and `struct ifinfomsg`: set IFF_UP on the loopback interface.
fn request() -> [u8; 32] {
    let mut message = [0u8; 32];
    message[0..4].copy_from_slice(&32u32.to_ne_bytes());
    message[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
    message[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    message[20..24].copy_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
    message[24..28].copy_from_slice(&IFF_UP.to_ne_bytes());
    message[28..32].copy_from_slice(&IFF_UP.to_ne_bytes());
    message
}

/// The kernel acknowledges with an error message that holds error 0.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let field = |from: usize, len: usize| answer.get(from..from + len);
    let (Some(kind), Some(error)) = (field(4, 2), field(16, 4)) else {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    };
    if kind != NLMSG_ERROR.to_ne_bytes() {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let error = i32::from_ne_bytes(error.try_into().expect("four bytes were taken"));
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer of the kernel with this type and error.
    fn answer(kind: u16, error: i32) -> [u8; 20] {
        let mut answer = [0u8; 20];
        answer[4..6].copy_from_slice(&kind.to_ne_bytes());
        answer[16..20].copy_from_slice(&error.to_ne_bytes());
        answer
    }

    #[test]
    fn error_0_is_success_and_other_errors_come_through() {
        assert!(acknowledged(&answer(NLMSG_ERROR, 0)).is_ok());
        let refused = acknowledged(&answer(NLMSG_ERROR, -1)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(acknowledged(&answer(RTM_NEWLINK, 0)).is_err());
        assert!(acknowledged(&[]).is_err());
    }

    #[test]
    fn the_kernel_understands_the_message() {
        // On the node's own loopback interface, which is up: nothing changes, and who lacks the right is told so.
        match bring_up() {
            Ok(()) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
    }
}
