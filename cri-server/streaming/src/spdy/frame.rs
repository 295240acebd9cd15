//! Frames: 8 bytes of head, then what the head announces.
//!
//! A control frame is handed out whole and has a bound. A data frame is handed out in the pieces in
//! which it arrives, so that its announced length costs no memory.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of the head of any frame.
pub(crate) const HEAD: usize = 8;
/// Longest control frame that is accepted, without its head.
pub(crate) const CONTROL_MAX: usize = 64 * 1024;
/// The highest stream id.
pub(crate) const STREAM_MAX: u32 = 0x7fff_ffff;

const VERSION: u16 = 3;
const FIN: u8 = 1;

/// `RST_STREAM`: the stream was not wanted.
pub(crate) const REFUSED_STREAM: u32 = 3;
/// `RST_STREAM`: nobody needs the stream any more.
pub(crate) const CANCEL: u32 = 5;

/// What the client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Opens a stream; `fin` if the client sends nothing on it.
    SynStream {
        stream: u32,
        fin: bool,
        block: Bytes,
    },
    /// Ends a stream in both directions.
    RstStream { stream: u32 },
    /// To be sent back if the id is odd.
    Ping { id: u32 },
    /// More headers of a stream, or an answer: of no use, but part of the compression.
    Headers {
        stream: u32,
        fin: bool,
        block: Bytes,
    },
    /// The client opens no more streams.
    GoAway,
    /// A piece of a data frame; `fin` with the last piece of the last frame.
    Data {
        stream: u32,
        fin: bool,
        payload: Bytes,
    },
    /// Windows, settings, and what later versions may add.
    Ignored,
}

/// Bytes that are not SPDY/3.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// Another protocol, or none.
    #[error("frame of SPDY version {0}")]
    Version(u16),
    /// More than we keep.
    #[error("control frame of type {kind} with {len} bytes")]
    TooLong { kind: u16, len: usize },
    /// Less than the type needs.
    #[error("control frame of type {0} is too short")]
    TooShort(u16),
    /// No stream has this id.
    #[error("frame for stream 0")]
    NoStream,
}

/// Turns bytes into frames.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// What was read and not yet handed out; the reader appends to it.
    pub(crate) buffer: BytesMut,
    /// The data frame whose payload is under way.
    data: Option<DataLeft>,
}

#[derive(Clone, Copy, Debug)]
struct DataLeft {
    stream: u32,
    fin: bool,
    left: usize,
}

impl Decoder {
    /// The next frame, or `None` if more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(data) = self.data {
            return Ok(self.piece(data));
        }
        if self.buffer.len() < HEAD {
            return Ok(None);
        }
        let word = (&self.buffer[..4]).get_u32();
        let flags = self.buffer[4];
        let len = (&self.buffer[4..8]).get_u32() as usize & 0x00ff_ffff;
        if word & !STREAM_MAX == 0 {
            return self.start_data(word, flags, len);
        }
        let version = (&self.buffer[..2]).get_u16() & 0x7fff;
        let kind = (&self.buffer[2..4]).get_u16();
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        if len > CONTROL_MAX {
            return Err(FrameError::TooLong { kind, len });
        }
        if self.buffer.len() < HEAD + len {
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        control(kind, flags, self.buffer.split_to(len).freeze()).map(Some)
    }

    fn start_data(
        &mut self,
        stream: u32,
        flags: u8,
        left: usize,
    ) -> Result<Option<Frame>, FrameError> {
        if stream == 0 {
            return Err(FrameError::NoStream);
        }
        self.buffer.advance(HEAD);
        let fin = flags & FIN != 0;
        Ok(self.piece(DataLeft { stream, fin, left }))
    }

    /// As much of the payload as is here. A frame without payload may still end its stream.
    fn piece(&mut self, data: DataLeft) -> Option<Frame> {
        let here = data.left.min(self.buffer.len());
        let left = data.left - here;
        self.data = (left > 0).then_some(DataLeft { left, ..data });
        if here == 0 && left > 0 {
            return None;
        }
        Some(Frame::Data {
            stream: data.stream,
            fin: data.fin && left == 0,
            payload: self.buffer.split_to(here).freeze(),
        })
    }
}

fn control(kind: u16, flags: u8, mut body: Bytes) -> Result<Frame, FrameError> {
    let need = match kind {
        1 => 10,
        2 | 3 | 6..=8 => 4,
        _ => return Ok(Frame::Ignored),
    };
    if body.len() < need {
        return Err(FrameError::TooShort(kind));
    }
    let fin = flags & FIN != 0;
    let id = body.get_u32();
    let stream = id & STREAM_MAX;
    Ok(match kind {
        1 => {
            // The associated stream, the priority and the credential slot mean nothing here.
            body.advance(6);
            Frame::SynStream {
                stream,
                fin,
                block: body,
            }
        }
        2 | 8 => Frame::Headers {
            stream,
            fin,
            block: body,
        },
        3 => Frame::RstStream { stream },
        6 => Frame::Ping { id },
        _ => Frame::GoAway,
    })
}

/// The head of a data frame.
pub(crate) fn data_head(stream: u32, fin: bool, len: usize) -> [u8; HEAD] {
    let len = u32::try_from(len).expect("a payload of ours is short");
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&stream.to_be_bytes());
    head[4..].copy_from_slice(&(u32::from(fin) << 24 | len).to_be_bytes());
    head
}

fn put_control(to: &mut BytesMut, kind: u16, flags: u8, body: &[&[u8]]) {
    let len: usize = body.iter().map(|part| part.len()).sum();
    let len = u32::try_from(len).expect("a control frame of ours is short");
    to.put_u16(0x8000 | VERSION);
    to.put_u16(kind);
    to.put_u32(u32::from(flags) << 24 | len);
    for part in body {
        to.put_slice(part);
    }
}

/// `SYN_REPLY`: the stream is ours; `block` are its compressed headers.
pub(crate) fn put_syn_reply(to: &mut BytesMut, stream: u32, block: &[u8]) {
    put_control(to, 2, 0, &[&stream.to_be_bytes(), block]);
}

/// `RST_STREAM`.
pub(crate) fn put_rst_stream(to: &mut BytesMut, stream: u32, status: u32) {
    put_control(to, 3, 0, &[&stream.to_be_bytes(), &status.to_be_bytes()]);
}

/// `SETTINGS` without any, which means nothing and is not answered.
pub(crate) fn put_settings(to: &mut BytesMut) {
    put_control(to, 4, 0, &[&0u32.to_be_bytes()]);
}

/// `PING`.
pub(crate) fn put_ping(to: &mut BytesMut, id: u32) {
    put_control(to, 6, 0, &[&id.to_be_bytes()]);
}

/// `GOAWAY`, without blame.
pub(crate) fn put_go_away(to: &mut BytesMut, last_good: u32) {
    put_control(to, 7, 0, &[&last_good.to_be_bytes(), &0u32.to_be_bytes()]);
}

#[cfg(test)]
mod tests;
