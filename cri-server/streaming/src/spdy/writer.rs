//! What goes to the client: answers first, then data.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::frame;
use super::header_block::Deflater;
use super::streams::Streams;
use crate::activity::Activity;
use crate::conversation::Talk;

/// An answer to the client. Headers are compressed when it is written, in the order of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// `SYN_REPLY` for a stream.
    Reply(u32),
    /// `RST_STREAM` for a stream, with a status.
    Reset(u32, u32),
    /// `PING`, sent back.
    Ping(u32),
    /// `SETTINGS` without any: a sign of life. Not a `PING`, whose answer a client might wait to send.
    Alive,
}

/// The sending half of a connection.
#[derive(Debug)]
pub(crate) struct Writer<W> {
    pub(super) io: W,
    pub(super) deflater: Deflater,
    pub(super) streams: Arc<Mutex<Streams>>,
    pub(super) control: mpsc::Receiver<Control>,
    pub(super) frames: mpsc::Receiver<Bytes>,
    pub(super) activity: Arc<Activity>,
}

impl<W: AsyncWrite + Unpin + Send> Talk for Writer<W> {
    async fn talk(&mut self) -> io::Result<()> {
        loop {
            tokio::select! {
                biased;
                Some(control) = self.control.recv() => self.write_control(control).await?,
                frame = self.frames.recv() => match frame {
                    Some(frame) => self.write(frame, Counts::AsActivity).await?,
                    None => return self.io.flush().await,
                },
            }
        }
    }

    async fn answer(&mut self) -> io::Result<()> {
        while let Some(control) = self.control.recv().await {
            self.write_control(control).await?;
        }
        Ok(())
    }

    async fn part(&mut self) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        frame::put_go_away(&mut bytes, self.streams.lock().last());
        self.io.write_all_buf(&mut bytes).await?;
        self.io.shutdown().await
    }
}

/// Whether bytes show that the session is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    AsActivity,
    AsNothing,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    async fn write_control(&mut self, control: Control) -> io::Result<()> {
        let counts = match control {
            Control::Alive => Counts::AsNothing,
            _ => Counts::AsActivity,
        };
        let bytes = self.encode(control);
        self.write(bytes, counts).await
    }

    /// Writes a frame, and flushes after the last that is there.
    async fn write(&mut self, mut frame: Bytes, counts: Counts) -> io::Result<()> {
        let len = frame.len();
        self.io.write_all_buf(&mut frame).await?;
        self.activity.sent(match counts {
            Counts::AsActivity => len,
            Counts::AsNothing => 0,
        });
        if self.control.is_empty() && self.frames.is_empty() {
            self.io.flush().await?;
        }
        Ok(())
    }
}

impl<W> Writer<W> {
    fn encode(&mut self, control: Control) -> Bytes {
        let mut bytes = BytesMut::with_capacity(32);
        match control {
            Control::Reply(stream) => {
                frame::put_syn_reply(&mut bytes, stream, &self.deflater.write(&[]));
            }
            Control::Reset(stream, status) => frame::put_rst_stream(&mut bytes, stream, status),
            Control::Ping(id) => frame::put_ping(&mut bytes, id),
            Control::Alive => frame::put_settings(&mut bytes),
        }
        bytes.freeze()
    }
}
