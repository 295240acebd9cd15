//! What comes from the client: frames, into the inboxes of streams.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::Violation;
use super::frame::{Decoder, Frame, REFUSED_STREAM};
use super::header_block::Inflater;
use super::offer::Offer;
use super::outlet::Outlet;
use super::stream_state::Event;
use super::streams::{Arrived, Opened, Streams};
use super::writer::Control;
use crate::activity::Activity;
use crate::delivery;

/// Bytes read at once.
const READ: usize = 64 * 1024;

/// The receiving half of a connection. It stands still while the reader of a stream does.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    pub(super) io: R,
    pub(super) decoder: Decoder,
    pub(super) inflater: Inflater,
    pub(super) streams: Arc<Mutex<Streams>>,
    pub(super) inboxes: HashMap<u32, DuplexStream>,
    pub(super) inbox_bytes: usize,
    pub(super) offers: mpsc::Sender<Offer>,
    pub(super) control: mpsc::Sender<Control>,
    /// Weak, so that the queue ends when all outlets are gone.
    pub(super) frames: mpsc::WeakSender<Bytes>,
    pub(super) activity: Arc<Activity>,
}

impl<R: AsyncRead + Unpin + Send> Reader<R> {
    /// Reads until the client closes the connection, or sends what makes no sense.
    pub(crate) async fn run(&mut self) -> Result<(), Violation> {
        loop {
            while let Some(frame) = self.decoder.next()? {
                if self.take(frame).await?.is_break() {
                    return Ok(());
                }
            }
            self.decoder.buffer.reserve(READ);
            match self.io.read_buf(&mut self.decoder.buffer).await {
                Ok(read) if read > 0 => self.activity.received(read),
                _ => return Ok(()),
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<std::ops::ControlFlow<()>, Violation> {
        match frame {
            Frame::SynStream { stream, fin, block } => self.open(stream, fin, &block)?,
            Frame::Data {
                stream,
                fin,
                payload,
            } => {
                return self.data(stream, fin, payload).await;
            }
            Frame::Headers { stream, fin, block } => {
                // Read for the sake of the compression, which knows no frames.
                self.inflater.read(&block)?;
                if fin {
                    self.end(stream)?;
                }
            }
            Frame::RstStream { stream } => {
                self.inboxes.remove(&stream);
                self.streams.lock().reset(stream);
            }
            Frame::Ping { id } => self.pong(id)?,
            Frame::GoAway | Frame::Ignored => {}
        }
        Ok(std::ops::ControlFlow::Continue(()))
    }

    fn open(&mut self, id: u32, fin: bool, block: &[u8]) -> Result<(), Violation> {
        let headers = self.inflater.read(block)?;
        let opened = self.streams.lock().open(id, fin);
        let was_reset = match opened {
            Opened::Offered(was_reset) => was_reset,
            Opened::TooMany | Opened::BadId => {
                return self.answer(Control::Reset(id, REFUSED_STREAM));
            }
        };
        let Some(frames) = self.frames.upgrade() else {
            // The session is over: nobody takes streams any more.
            return Ok(());
        };
        let (ours, inbox) = duplex(self.inbox_bytes);
        self.forget_closed();
        if !fin {
            self.inboxes.insert(id, ours);
        }
        let offer = Offer {
            headers,
            inbox,
            was_reset,
            outlet: Outlet {
                id,
                streams: self.streams.clone(),
                frames,
            },
            control: self.control.clone(),
        };
        match self.offers.try_send(offer) {
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
            Err(TrySendError::Full(offer)) => {
                offer.refuse();
                Ok(())
            }
        }
    }

    async fn data(
        &mut self,
        id: u32,
        fin: bool,
        payload: Bytes,
    ) -> Result<std::ops::ControlFlow<()>, Violation> {
        let arrived = self.streams.lock().arrived(id, Event::RemoteData)?;
        if arrived == Arrived::Wanted
            && let Some(inbox) = self.inboxes.get_mut(&id)
        {
            let beat = || {
                let _ = self.control.try_send(Control::Alive);
            };
            match delivery::deliver(inbox, &payload, &self.activity, beat).await {
                delivery::Delivered::Yes => {}
                delivery::Delivered::Unwanted => drop(self.inboxes.remove(&id)),
                delivery::Delivered::ClientGone => return Ok(std::ops::ControlFlow::Break(())),
            }
        }
        if fin {
            self.end(id)?;
        }
        Ok(std::ops::ControlFlow::Continue(()))
    }

    /// The client's last on a stream: dropping the inbox is its end.
    fn end(&mut self, id: u32) -> Result<(), Violation> {
        self.streams.lock().arrived(id, Event::RemoteFin)?;
        self.inboxes.remove(&id);
        Ok(())
    }

    fn pong(&mut self, id: u32) -> Result<(), Violation> {
        if id.is_multiple_of(2) {
            // An answer to a ping of ours, which we never send.
            return Ok(());
        }
        match self.control.try_send(Control::Ping(id)) {
            // A client whose output is paused may ping for hours; it can do without the answer.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Closed(_)) => Ok(()),
        }
    }

    fn answer(&mut self, control: Control) -> Result<(), Violation> {
        match self.control.try_send(control) {
            Err(TrySendError::Full(_)) => Err(Violation::Flood),
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
        }
    }

    /// Streams that we have ended have no inbox any more.
    fn forget_closed(&mut self) {
        let streams = self.streams.lock();
        self.inboxes.retain(|id, _| streams.contains(*id));
    }
}
