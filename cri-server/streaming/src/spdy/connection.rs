//! A connection: its two halves, and the streams that the client opens on it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::frame::Decoder;
use super::header_block::{Deflater, Inflater};
use super::offer::Offer;
use super::reader::Reader;
use super::streams::Streams;
use super::writer::Writer;
use crate::activity::Activity;
use crate::limits::Limits;

/// Frames that may wait to be written.
const FRAMES: usize = 4;

/// The halves of a connection over `io`, both to be polled for as long as it lives, and the streams that
/// the client opens.
pub(crate) fn connect<S: AsyncRead + AsyncWrite>(
    io: S,
    limits: &Limits,
    activity: Arc<Activity>,
) -> (Connection<S>, mpsc::Receiver<Offer>) {
    let (read_half, write_half) = tokio::io::split(io);
    let streams = Arc::new(Mutex::new(Streams::new(limits.streams)));
    // Room for an answer to each stream twice, and some pings.
    let (control, control_out) = mpsc::channel(2 * limits.streams + 16);
    let (frames, frames_out) = mpsc::channel(FRAMES);
    let (offers, offered) = mpsc::channel(limits.streams);
    let reader = Reader {
        io: read_half,
        decoder: Decoder::default(),
        inflater: Inflater::new(),
        streams: streams.clone(),
        inboxes: HashMap::new(),
        inbox_bytes: limits.inbox_bytes,
        offers,
        control,
        frames: frames.downgrade(),
        activity: activity.clone(),
    };
    let writer = Writer {
        io: write_half,
        deflater: Deflater::new(),
        streams,
        control: control_out,
        frames: frames_out,
        activity,
    };
    let connection = Connection {
        reader,
        writer,
        open: frames,
    };
    (connection, offered)
}

/// The two halves of a connection.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    pub(crate) reader: Reader<ReadHalf<S>>,
    pub(crate) writer: Writer<WriteHalf<S>>,
    /// As long as somebody has it, the connection takes streams.
    pub(crate) open: mpsc::Sender<bytes::Bytes>,
}
