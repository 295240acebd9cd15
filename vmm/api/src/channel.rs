//! One packet, one message: JSON with descriptors over a `SOCK_SEQPACKET` unix socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    connect, recvmsg, sendmsg, socket_with,
};
use serde::{Serialize, de::DeserializeOwned};

/// Most bytes of one message.
pub const MAX_MESSAGE: usize = 256 * 1024;

/// Most descriptors beside one message. An image has up to 127 layers and a merged file; the kernel's limit is 253.
pub const MAX_FDS: usize = 250;

/// A message could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The socket failed; a peer that is gone shows as `UnexpectedEof` or `BrokenPipe`.
    #[error("talk over the control socket")]
    Io(#[source] io::Error),
    /// What arrived, or was to be sent, is no message.
    #[error("understand a control message")]
    Malformed(#[source] serde_json::Error),
    /// Too long, or with too many descriptors, to arrive whole.
    #[error("message of {bytes} bytes and {fds} descriptors exceeds the limits")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// Its descriptors.
        fds: usize,
    },
}

/// One end of a connection. Blocking.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

impl From<OwnedFd> for Channel {
    /// Takes a connected `SOCK_SEQPACKET` socket.
    fn from(socket: OwnedFd) -> Self {
        Self { socket }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Channel {
    /// Connects to a VMM's control socket.
    pub fn connect(path: &std::path::Path) -> Result<Self, ChannelError> {
        let connected = || -> rustix::io::Result<OwnedFd> {
            let socket = socket_with(
                AddressFamily::UNIX,
                SocketType::SEQPACKET,
                SocketFlags::CLOEXEC,
                None,
            )?;
            connect(&socket, &SocketAddrUnix::new(path)?)?;
            Ok(socket)
        };
        connected()
            .map(Self::from)
            .map_err(|e| ChannelError::Io(e.into()))
    }

    /// Sends `message` with `fds` beside it.
    pub fn send(
        &self,
        message: &impl Serialize,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let bytes = serde_json::to_vec(message).map_err(ChannelError::Malformed)?;
        if bytes.len() > MAX_MESSAGE || fds.len() > MAX_FDS {
            return Err(ChannelError::TooLarge {
                bytes: bytes.len(),
                fds: fds.len(),
            });
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let sent = rustix::io::retry_on_intr(|| {
            sendmsg(
                &self.socket,
                &[IoSlice::new(&bytes)],
                &mut control,
                SendFlags::NOSIGNAL,
            )
        });
        sent.map(drop).map_err(|e| ChannelError::Io(e.into()))
    }

    /// Waits for the next message and its descriptors. A peer that closed is `UnexpectedEof`.
    pub fn receive<M: DeserializeOwned>(&self) -> Result<(M, Vec<OwnedFd>), ChannelError> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            recvmsg(
                &self.socket,
                &mut parts,
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            )
        })
        .map_err(|e| ChannelError::Io(e.into()))?;
        let fds: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(ChannelError::TooLarge {
                bytes: received.bytes,
                fds: fds.len(),
            });
        }
        if received.bytes == 0 {
            return Err(ChannelError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        let message =
            serde_json::from_slice(&bytes[..received.bytes]).map_err(ChannelError::Malformed)?;
        Ok((message, fds))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use rustix::net::socketpair;

    use super::*;
    use crate::Request;

    fn pair() -> (Channel, Channel) {
        let (a, b) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        (a.into(), b.into())
    }

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (ours, theirs) = pair();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let request = Request::OpenLog {
            container: "c1".into(),
            file: 0,
        };
        ours.send(&request, &[writer.as_fd()]).unwrap();
        drop(writer);

        let (received, fds): (Request, _) = theirs.receive().unwrap();
        assert_eq!(received, request);
        let mut file = File::from(fds.into_iter().next().unwrap());
        file.write_all(b"through").unwrap();
        drop(file);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn a_peer_that_is_gone_is_an_end_of_file() {
        let (ours, theirs) = pair();
        drop(theirs);
        match ours.receive::<Request>() {
            Err(ChannelError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rubbish_is_refused() {
        let (ours, theirs) = pair();
        ours.send(&"no request", &[]).unwrap();
        assert!(matches!(
            theirs.receive::<Request>(),
            Err(ChannelError::Malformed(_))
        ));
    }
}
