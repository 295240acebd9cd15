//! What a host program says first: `CONNECT <port>\n`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags, recv, send};

/// Longest greeting: the word, a space, ten digits, and a newline.
const MAX_LEN: usize = "CONNECT 4294967295\n".len();

/// What has become of a greeting.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// It is not complete yet.
    Pending,
    /// The guest's port.
    Port(u32),
}

/// Reads the greeting from `socket`, and not a byte more, since what follows is the guest's.
pub(super) fn read(socket: &OwnedFd) -> io::Result<Greeting> {
    let mut buffer = [0; MAX_LEN];
    let seen = match recv(socket, &mut buffer, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Ok((seen, _)) => seen,
        Err(rustix::io::Errno::AGAIN) => return Ok(Greeting::Pending),
        Err(error) => return Err(error.into()),
    };
    let Some(end) = buffer[..seen].iter().position(|byte| *byte == b'\n') else {
        return if seen < MAX_LEN {
            Ok(Greeting::Pending)
        } else {
            Err(io::ErrorKind::InvalidData.into())
        };
    };
    recv(socket, &mut buffer[..=end], RecvFlags::DONTWAIT)?;
    parse(&buffer[..end])
        .map(Greeting::Port)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
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
        assert_eq!(read(&ours).unwrap(), Greeting::Pending);
        theirs.write_all(b"CONNECT 10").unwrap();
        assert_eq!(read(&ours).unwrap(), Greeting::Pending);
        theirs.write_all(b"24\nfirst words").unwrap();
        assert_eq!(read(&ours).unwrap(), Greeting::Port(1024));
        let mut rest = [0; 11];
        UnixStream::from(ours).read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"first words");
    }

    #[track_caller]
    fn check_refused(greeting: &[u8]) {
        let (ours, mut theirs) = pair();
        theirs.write_all(greeting).unwrap();
        assert!(read(&ours).is_err());
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
            read(&ours).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
