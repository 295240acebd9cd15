//! Asking the kernel, and taking its answers.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::attributes::{u16_at, u32_at};
use crate::message::{HEADER, Message};

const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Flag of a dump during which something changed.
const INTERRUPTED: u16 = 0x10;

/// The kernel answers dumps in pieces of at most 32 KiB.
const BUFFER: usize = 64 << 10;

/// How often a dump is repeated while what it shows changes.
const ATTEMPTS: u32 = 10;

/// A routing socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// A socket in the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        // NETLINK_ROUTE is the default.
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let fd = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
        bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self {
            fd,
            sequence: 0,
            buffer: vec![0; BUFFER],
        })
    }

    /// A socket in the network namespace at `path`, wherever the calling thread is.
    pub fn open_in(path: &Path) -> io::Result<Self> {
        let namespace = File::open(path)?;
        let open = move || {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), network)?;
            Self::open()
        };
        // A thread that went there would have to find its way back.
        let opened = std::thread::Builder::new().spawn(open)?.join();
        opened.unwrap_or_else(|_| Err(io::Error::other("the thread that opens it panicked")))
    }

    /// Changes something.
    pub fn change(&mut self, message: Message) -> io::Result<()> {
        self.send(message)?;
        loop {
            for answer in self.receive()? {
                if answer.kind == ERROR {
                    return answer.result();
                }
            }
        }
    }

    /// All that a dump shows: each without its `struct nlmsghdr`.
    pub fn dump(&mut self, message: &Message) -> io::Result<Vec<Vec<u8>>> {
        for _ in 0..ATTEMPTS {
            if let Some(shown) = self.dump_once(message.clone())? {
                return Ok(shown);
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// `None` if it changed meanwhile.
    fn dump_once(&mut self, message: Message) -> io::Result<Option<Vec<Vec<u8>>>> {
        self.send(message)?;
        let (mut shown, mut consistent) = (Vec::new(), true);
        loop {
            for answer in self.receive()? {
                consistent &= answer.flags & INTERRUPTED == 0;
                match answer.kind {
                    DONE => return Ok(consistent.then_some(shown)),
                    ERROR => return Err(answer.result().err().unwrap_or(malformed())),
                    _ => shown.push(answer.content),
                }
            }
        }
    }

    fn send(&mut self, message: Message) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = message.bytes(self.sequence);
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&self.fd, &bytes, SendFlags::empty(), &kernel)?;
        Ok(())
    }

    /// The next answers to what was asked last.
    fn receive(&mut self) -> io::Result<Vec<Answer>> {
        let (_, length) = recv(&self.fd, &mut self.buffer[..], RecvFlags::empty())?;
        let bytes = self.buffer.get(..length).ok_or_else(malformed)?;
        answers(bytes, self.sequence).ok_or_else(malformed)
    }
}

struct Answer {
    kind: u16,
    flags: u16,
    content: Vec<u8>,
}

impl Answer {
    /// What an error message says, which may be that all is well.
    fn result(&self) -> io::Result<()> {
        match self.content.first_chunk().map(|b| i32::from_ne_bytes(*b)) {
            Some(0) => Ok(()),
            Some(error @ ..0) => Err(io::Error::from_raw_os_error(error.saturating_neg())),
            _ => Err(malformed()),
        }
    }
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// The messages in `bytes` that answer number `sequence`; `None` if they aren't messages.
fn answers(mut bytes: &[u8], sequence: u32) -> Option<Vec<Answer>> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let content = bytes.get(HEADER..length)?.to_vec();
        if u32_at(bytes, 8)? == sequence {
            answers.push(Answer {
                kind: u16_at(bytes, 4)?,
                flags: u16_at(bytes, 6)?,
                content,
            });
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Some(answers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, sequence: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = Message::change(kind, 0, content).bytes(sequence);
        bytes[6..8].fill(0);
        bytes
    }

    #[test]
    fn answers_to_earlier_questions_are_passed_over() {
        let bytes = [message(16, 1, b"old "), message(17, 2, b"new ")].concat();
        let answers = answers(&bytes, 2).unwrap();
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].kind, &*answers[0].content), (17, &b"new "[..]));
    }

    #[test]
    fn an_error_is_an_error_number() {
        let result = |error: i32| {
            let bytes = message(ERROR, 0, &error.to_ne_bytes());
            answers(&bytes, 0).unwrap()[0].result()
        };
        assert!(result(0).is_ok());
        assert_eq!(result(-17).unwrap_err().raw_os_error(), Some(17));
        assert_eq!(result(1).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn every_namespace_has_a_loopback() {
        let links = Socket::open().unwrap().links().unwrap();
        assert!(links.iter().any(|link| link.loopback && link.index == 1));
    }

    #[test]
    fn what_the_kernel_refuses_is_an_error() {
        let error = Socket::open().unwrap().set_up(i32::MAX as u32).unwrap_err();
        // ENODEV, or EPERM to those who may not even ask.
        assert!(matches!(error.raw_os_error(), Some(1 | 19)), "{error}");
    }

    proptest! {
        #[test]
        fn whatever_comes_reading_it_ends(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _ = answers(&bytes, 0);
        }
    }
}
