//! What a host program says first: `CONNECT <port>\n`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags, recv, send};

/// Longest greeting: the word, a space, ten digits, and a newline.
const MAX_LEN: usize = "CONNECT 4294967295\n".len();

/// What has been said of it so far.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    said: Vec<u8>,
}

impl Greeting {
    /// Reads on from `socket`, and not a byte more than the greeting, since what follows is the guest's.
    /// Gives the guest's port once it is complete.
    pub(super) fn read(&mut self, socket: &OwnedFd) -> io::Result<Option<u32>> {
        let mut buffer = [0; MAX_LEN];
        let room = &mut buffer[..MAX_LEN - self.said.len()];
        let seen = match recv(socket, &mut *room, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((seen, _)) => seen,
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let end = room[..seen].iter().position(|byte| *byte == b'\n');
        // Taken at once: what stays in the socket would keep it readable, and us busy.
        let taken = end.map_or(seen, |end| end + 1);
        recv(socket, &mut room[..taken], RecvFlags::DONTWAIT)?;
        self.said.extend_from_slice(&room[..end.unwrap_or(seen)]);
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        match end {
            Some(_) => parse(&self.said).map(Some).ok_or_else(invalid),
            None if self.said.len() < MAX_LEN => Ok(None),
            None => Err(invalid()),
        }
    }
}

fn parse(line: &[u8]) -> Option<u32> {
    let port = line.strip_prefix(b"CONNECT ")?;
    // `parse` would take a sign, too.
    let digits = port.iter().all(u8::is_ascii_digit);
    str::from_utf8(port).ok().filter(|_| digits)?.parse().ok()
}

/// Answers that the guest accepted; `host_port` is our side of the connection.
pub(super) fn answer(socket: impl AsFd, host_port: u32) -> io::Result<()> {
    let line = format!("OK {host_port}\n");
    // Nothing else has been sent on this socket, so a line fits, or its owner is up to something.
    let sent = send(
        socket,
        line.as_bytes(),
        SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
    )?;
    if sent == line.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (OwnedFd, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (ours.into(), theirs)
    }

    #[test]
    fn a_greeting_may_come_in_pieces_and_what_follows_stays() {
        let (ours, mut theirs) = pair();
        let mut greeting = Greeting::default();
        assert_eq!(greeting.read(&ours).unwrap(), None);
        theirs.write_all(b"CONNECT 10").unwrap();
        assert_eq!(greeting.read(&ours).unwrap(), None);
        assert_eq!(rustix::io::ioctl_fionread(&ours).unwrap(), 0, "it is taken");
        theirs.write_all(b"24\nfirst words").unwrap();
        assert_eq!(greeting.read(&ours).unwrap(), Some(1024));
        let mut rest = [0; 11];
        UnixStream::from(ours).read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"first words");
    }

    #[track_caller]
    fn check_refused(greeting: &[u8]) {
        let (ours, mut theirs) = pair();
        theirs.write_all(greeting).unwrap();
        assert!(Greeting::default().read(&ours).is_err());
    }

    #[test]
    fn what_is_no_greeting_is_refused() {
        check_refused(b"HELLO 1\n");
        check_refused(b"CONNECT 4294967296\n");
        check_refused(b"CONNECT +1\n");
        check_refused(b"CONNECT \n");
        check_refused(b"CONNECT 00000000000000000000000000\n");
    }

    #[test]
    fn a_program_that_leaves_is_an_end_of_file() {
        let (ours, theirs) = pair();
        drop(theirs);
        assert_eq!(
            Greeting::default().read(&ours).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
