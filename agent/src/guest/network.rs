//! The guest's network: for now its loopback. Interfaces, addresses and routes of the pod belong here.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

use super::GuestError;

/// The kernel makes the loopback first.
const LOOPBACK: i32 = 1;

const RTM_NEWLINK: u16 = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const IFF_UP: u32 = 1;

/// `struct nlmsghdr`, `struct ifinfomsg`.
const HEADER: usize = 16;
const LINK: usize = 16;

/// Brings `lo` up; the kernel gives it its addresses.
pub(super) fn raise_loopback() -> Result<(), GuestError> {
    let raised = || -> rustix::io::Result<()> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE is the default.
            None,
        )?;
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&socket, &link_up(LOOPBACK), SendFlags::empty(), &kernel)?;
        acknowledgement(&socket)
    };
    raised().map_err(|source| GuestError::System {
        doing: "bring up the loopback",
        source,
    })
}

/// A request to bring a link up.
fn link_up(index: i32) -> [u8; HEADER + LINK] {
    let mut message = [0; HEADER + LINK];
    let length = u32::try_from(message.len()).expect("a few bytes");
    message[0..4].copy_from_slice(&length.to_ne_bytes());
    message[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
    message[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    message[HEADER + 4..HEADER + 8].copy_from_slice(&index.to_ne_bytes());
    message[HEADER + 8..HEADER + 12].copy_from_slice(&IFF_UP.to_ne_bytes());
    // Which flags to change.
    message[HEADER + 12..].copy_from_slice(&IFF_UP.to_ne_bytes());
    message
}

/// The kernel answers with an error message, which says 0 if all is well.
fn acknowledgement(socket: &OwnedFd) -> rustix::io::Result<()> {
    let mut answer = [0; 1024];
    let (_, length) = recv(socket, &mut answer[..], RecvFlags::empty())?;
    errno_of(&answer[..length.min(answer.len())])
}

fn errno_of(answer: &[u8]) -> rustix::io::Result<()> {
    let kind = answer
        .get(4..6)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u16::from_ne_bytes);
    let error = answer
        .get(HEADER..HEADER + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_ne_bytes);
    match (kind, error) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(Errno::from_raw_os_error(-error)),
        _ => Err(Errno::BADMSG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_what_the_kernel_expects() {
        let message = link_up(1);
        assert_eq!(message[0], 32);
        assert_eq!(message[4], 16);
        assert_eq!(message[6], 5);
        assert_eq!(message[20], 1);
        assert_eq!((message[24], message[28]), (1, 1));
    }

    #[test]
    fn an_answer_is_an_error_number() {
        let answer = |kind: u16, error: i32| {
            let mut bytes = [0; 20];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[16..20].copy_from_slice(&error.to_ne_bytes());
            bytes
        };
        assert_eq!(errno_of(&answer(NLMSG_ERROR, 0)), Ok(()));
        assert_eq!(errno_of(&answer(NLMSG_ERROR, -1)), Err(Errno::PERM));
        assert_eq!(errno_of(&answer(RTM_NEWLINK, 0)), Err(Errno::BADMSG));
        assert_eq!(errno_of(&[]), Err(Errno::BADMSG));
    }
}
