//! Where bytes for the client go, whichever protocol it speaks.

use bytes::BytesMut;

use crate::{spdy, websocket};

/// Bytes before the payload of each piece, for the head of a frame.
pub(crate) const HEADROOM: usize = 8;

/// The client, or this stream of it, is gone; what is sent goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// One stream to the client.
#[derive(Debug)]
pub(crate) enum Output {
    /// A stream of its own.
    Spdy(spdy::Outlet),
    /// Messages that begin with the number of a channel.
    WebSocket(websocket::Outlet),
}

impl Output {
    /// Sends what follows [`HEADROOM`] bytes in `piece`; waits while the client does not read.
    pub(crate) async fn send(&self, piece: BytesMut) -> Result<(), Gone> {
        match self {
            Self::Spdy(outlet) => outlet.send(piece).await,
            Self::WebSocket(outlet) => outlet.send(&piece[HEADROOM..]).await,
        }
    }

    /// Sends `text`.
    pub(crate) async fn send_text(&self, text: &str) -> Result<(), Gone> {
        let mut piece = BytesMut::zeroed(HEADROOM);
        piece.extend_from_slice(text.as_bytes());
        self.send(piece).await
    }

    /// The end of each direction can be told by itself.
    pub(crate) fn half_closes(&self) -> bool {
        matches!(self, Self::Spdy(_))
    }

    /// Says that nothing more comes on this stream.
    pub(crate) async fn finish(&self) {
        match self {
            // A client that is gone needs no end.
            Self::Spdy(outlet) => drop(outlet.finish().await),
            // The close of the connection is the end of all channels.
            Self::WebSocket(_) => {}
        }
    }

    /// Says that nothing more is taken on this stream either.
    pub(crate) async fn abandon(&self) {
        match self {
            Self::Spdy(outlet) => drop(outlet.reset().await),
            Self::WebSocket(_) => {}
        }
    }
}
