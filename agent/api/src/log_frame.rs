//! Container output on its way out of a guest: frames on the host's vsock port [`crate::version::LOG_PORT`].
//!
//! A frame is `u32` (little endian) length of what follows, then `u8` kind, `u8` stream, `u16` (little
//! endian) length of the key, the key, the payload. The key is the container's id. The agent sends
//! data frames and, once all output is sent, one end frame; the host answers that with one
//! acknowledgement under the same key when everything is in the log.

/// Most bytes of output in one frame.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// Most bytes of a key. Container ids have 64.
pub const MAX_KEY: usize = 256;

/// Kind, stream, length of the key.
const HEAD: usize = 4;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Output of the container. From the guest.
    Data,
    /// There will be no more output. From the guest.
    End,
    /// Everything up to the end is in the log. From the host.
    Acknowledged,
}

/// Which of the container's outputs a data frame is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One frame, borrowed from the buffer that it was read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'b> {
    /// What it is.
    pub kind: Kind,
    /// Meaningless but in data frames.
    pub stream: Stream,
    /// The container's id.
    pub key: &'b [u8],
    /// Output, in data frames.
    pub payload: &'b [u8],
}

/// What was received is no frame. The stream can't be understood from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than a frame can be, or shorter.
    #[error("a log frame of {0} bytes")]
    Length(u32),
    /// A kind nobody knows.
    #[error("a log frame of kind {0}")]
    Kind(u8),
    /// A stream nobody knows.
    #[error("a log frame of stream {0}")]
    Stream(u8),
    /// The key is longer than the frame or than a key can be.
    #[error("a log frame with a key of {0} bytes")]
    Key(u16),
}

impl<'b> Frame<'b> {
    /// Appends the frame's bytes to `out`.
    ///
    /// # Panics
    /// Where the key or the payload is longer than a frame allows.
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(
            self.key.len() <= MAX_KEY && self.payload.len() <= MAX_PAYLOAD,
            "frame too long"
        );
        let rest = HEAD + self.key.len() + self.payload.len();
        let rest = u32::try_from(rest).expect("bounded above");
        let key = u16::try_from(self.key.len()).expect("bounded above");
        out.extend_from_slice(&rest.to_le_bytes());
        out.extend_from_slice(&[self.kind as u8 + 1, self.stream as u8 + 1]);
        out.extend_from_slice(&key.to_le_bytes());
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.payload);
    }

    /// The frame at the beginning of `bytes` and how many bytes it took; `None` while it is incomplete.
    pub fn decode(bytes: &'b [u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length);
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if !(HEAD..=HEAD + MAX_KEY + MAX_PAYLOAD).contains(&size) {
            return Err(Malformed::Length(length));
        }
        let Some(body) = rest.get(..size) else {
            return Ok(None);
        };
        Self::decode_body(body).map(|frame| Some((frame, 4 + size)))
    }

    fn decode_body(body: &'b [u8]) -> Result<Self, Malformed> {
        let (&[kind, stream, low, high], rest) = body
            .split_first_chunk::<HEAD>()
            .expect("the length was checked");
        let kind = match kind {
            1 => Kind::Data,
            2 => Kind::End,
            3 => Kind::Acknowledged,
            other => return Err(Malformed::Kind(other)),
        };
        let stream = match stream {
            // A frame without output need not name one.
            0 if kind != Kind::Data => Stream::Stdout,
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            other => return Err(Malformed::Stream(other)),
        };
        let key_len = u16::from_le_bytes([low, high]);
        if usize::from(key_len) > MAX_KEY || usize::from(key_len) > rest.len() {
            return Err(Malformed::Key(key_len));
        }
        let (key, payload) = rest.split_at(usize::from(key_len));
        if payload.len() > MAX_PAYLOAD {
            return Err(Malformed::Length(
                u32::try_from(body.len()).unwrap_or(u32::MAX),
            ));
        }
        Ok(Self {
            kind,
            stream,
            key,
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(frame: Frame<'_>) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        for cut in 0..bytes.len() {
            assert_eq!(Frame::decode(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        let whole = bytes.len();
        bytes.extend_from_slice(b"next");
        assert_eq!(Frame::decode(&bytes), Ok(Some((frame, whole))));
    }

    #[test]
    fn a_frame_reads_back_as_it_was_written() {
        let (stream, key) = (Stream::Stderr, &b"c1"[..]);
        check(Frame {
            kind: Kind::Data,
            stream,
            key,
            payload: b"hello",
        });
        check(Frame {
            kind: Kind::End,
            stream,
            key,
            payload: b"",
        });
        check(Frame {
            kind: Kind::Acknowledged,
            stream: Stream::Stdout,
            key,
            payload: b"",
        });
    }

    #[test]
    fn the_bytes_are_those_of_the_protocol() {
        let mut bytes = Vec::new();
        let frame = Frame {
            kind: Kind::Data,
            stream: Stream::Stderr,
            key: b"c1",
            payload: b"x",
        };
        frame.encode(&mut bytes);
        assert_eq!(bytes, [7, 0, 0, 0, 1, 2, 2, 0, b'c', b'1', b'x']);
    }

    #[track_caller]
    fn check_malformed(bytes: &[u8], expected: Malformed) {
        assert_eq!(Frame::decode(bytes), Err(expected));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        check_malformed(&[0, 0, 0, 0], Malformed::Length(0));
        check_malformed(&[255, 255, 255, 255], Malformed::Length(u32::MAX));
        check_malformed(&[4, 0, 0, 0, 9, 1, 0, 0], Malformed::Kind(9));
        check_malformed(&[4, 0, 0, 0, 1, 0, 0, 0], Malformed::Stream(0));
        check_malformed(&[4, 0, 0, 0, 1, 3, 0, 0], Malformed::Stream(3));
        check_malformed(&[4, 0, 0, 0, 1, 1, 1, 0], Malformed::Key(1));
    }
}
