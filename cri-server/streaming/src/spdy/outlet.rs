//! Our half of a stream: what we send on it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::frame::{self, HEAD};
use super::stream_state::Event;
use super::streams::Streams;
use crate::output::{Gone, HEADROOM};

/// Our half of a stream that was accepted. Each frame waits for room in the connection's queue.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(super) id: u32,
    pub(super) streams: Arc<Mutex<Streams>>,
    pub(super) frames: mpsc::Sender<Bytes>,
}

impl Outlet {
    /// Sends what follows [`HEADROOM`] bytes in `piece`.
    pub(crate) async fn send(&self, mut piece: BytesMut) -> Result<(), Gone> {
        self.apply(Event::LocalData)?;
        let head = frame::data_head(self.id, false, piece.len() - HEADROOM);
        piece[HEADROOM - HEAD..HEADROOM].copy_from_slice(&head);
        self.queue(piece.split_off(HEADROOM - HEAD).freeze()).await
    }

    /// Half-closes the stream.
    pub(crate) async fn finish(&self) -> Result<(), Gone> {
        self.apply(Event::LocalFin)?;
        let head = frame::data_head(self.id, true, 0);
        self.queue(Bytes::copy_from_slice(&head)).await
    }

    /// Ends the stream in both directions, if it has not ended, after what was sent on it.
    pub(crate) async fn reset(&self) -> Result<(), Gone> {
        if !self.streams.lock().contains(self.id) {
            return Ok(());
        }
        self.apply(Event::Reset)?;
        let mut bytes = BytesMut::new();
        frame::put_rst_stream(&mut bytes, self.id, frame::CANCEL);
        self.queue(bytes.freeze()).await
    }

    fn apply(&self, event: Event) -> Result<(), Gone> {
        self.streams.lock().apply(self.id, event).map_err(|_| Gone)
    }

    async fn queue(&self, bytes: Bytes) -> Result<(), Gone> {
        self.frames.send(bytes).await.map_err(|_| Gone)
    }
}
