//! A stream that the client has opened, before and after we take it.

use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};

use super::frame::REFUSED_STREAM;
use super::header_block::Headers;
use super::outlet::Outlet;
use super::stream_state::Event;
use super::writer::Control;
use crate::output::Gone;

/// A stream that the client has opened and that nobody has answered.
#[derive(Debug)]
pub(crate) struct Offer {
    /// What the client says about it.
    pub(crate) headers: Headers,
    pub(super) inbox: DuplexStream,
    pub(super) was_reset: oneshot::Receiver<()>,
    pub(super) outlet: Outlet,
    pub(super) control: mpsc::Sender<Control>,
}

/// A stream that both sides agree on.
#[derive(Debug)]
pub(crate) struct Stream {
    /// What the client sends; dropping it makes the rest go nowhere.
    pub(crate) inbox: DuplexStream,
    /// What we send.
    pub(crate) outlet: Outlet,
    /// Resolves with `Ok` when the client resets the stream.
    pub(crate) was_reset: oneshot::Receiver<()>,
}

impl Offer {
    /// Which stream of the connection it is.
    pub(crate) fn id(&self) -> u32 {
        self.outlet.id
    }

    /// Takes the stream. The reply overtakes all data, so it reaches the client first.
    pub(crate) fn accept(self) -> Result<Stream, Gone> {
        let id = self.id();
        let accepted = self.outlet.streams.lock().apply(id, Event::Accept);
        accepted.map_err(|_| Gone)?;
        let reply = Control::Reply(id);
        self.control.try_send(reply).map_err(|_| Gone)?;
        Ok(Stream {
            inbox: self.inbox,
            outlet: self.outlet,
            was_reset: self.was_reset,
        })
    }

    /// Turns the stream down.
    pub(crate) fn refuse(self) {
        let id = self.id();
        // A client that has reset it itself needs no answer.
        if self.outlet.streams.lock().apply(id, Event::Reset).is_ok() {
            let _ = self.control.try_send(Control::Reset(id, REFUSED_STREAM));
        }
    }
}
