//! The VMM's log writer: one connection for the output of all containers, made before the first of them.
//!
//! Whoever writes output may be given up in the middle of it, so a task of its own writes frames: none is
//! ever cut short, which would garble those of all others.

use std::collections::HashMap;
use std::sync::Arc;

use agent_api::log_frame::{Frame, Kind};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

/// Frames that wait for the VMM to take them; more of them would only hide that it is slow.
const WAITING: usize = 4;

/// The way to the VMM.
#[derive(Clone, Debug)]
pub(crate) struct LogWriter {
    frames: mpsc::Sender<Vec<u8>>,
    unconfirmed: Unconfirmed,
}

/// Logs whose end the VMM has not confirmed yet, by container. `None` once it confirms nothing any more.
type Unconfirmed = Arc<Mutex<Option<HashMap<Vec<u8>, oneshot::Sender<()>>>>>;

impl LogWriter {
    /// Takes the connection.
    pub(crate) fn new(connection: UnixStream) -> Self {
        let (frames, waiting) = mpsc::channel(WAITING);
        let unconfirmed = Unconfirmed::new(Mutex::new(Some(HashMap::new())));
        let (read, write) = connection.into_split();
        tokio::spawn(hand_on(waiting, write));
        tokio::spawn(hear(read, Arc::clone(&unconfirmed)));
        Self {
            frames,
            unconfirmed,
        }
    }

    /// Whether nothing can be sent any more.
    pub(super) fn is_gone(&self) -> bool {
        self.frames.is_closed()
    }

    /// Sends a frame; into nothing if nobody takes it any more, which [`hand_on`] has told.
    pub(super) async fn send(&self, frame: Frame<'_>) {
        let mut bytes = Vec::with_capacity(frame.key.len() + frame.payload.len() + 16);
        frame.encode(&mut bytes);
        let _ = self.frames.send(bytes).await;
    }

    /// Expects that the end of this container's output is confirmed. What is returned gives an error once
    /// that can't happen any more.
    pub(super) fn expect(&self, key: &[u8]) -> oneshot::Receiver<()> {
        let (confirmed, waiter) = oneshot::channel();
        if let Some(unconfirmed) = &mut *self.unconfirmed.lock() {
            unconfirmed.insert(key.to_vec(), confirmed);
        }
        waiter
    }

    /// Expects it no more.
    pub(super) fn give_up(&self, key: &[u8]) {
        if let Some(unconfirmed) = &mut *self.unconfirmed.lock() {
            unconfirmed.remove(key);
        }
    }
}

async fn hand_on(mut frames: mpsc::Receiver<Vec<u8>>, mut host: OwnedWriteHalf) {
    while let Some(frame) = frames.recv().await {
        if let Err(error) = host.write_all(&frame).await {
            tracing::error!(%error, "output of all containers is lost: the host's log writer is gone");
            return;
        }
    }
}

async fn hear(mut host: OwnedReadHalf, unconfirmed: Unconfirmed) {
    let mut bytes = Vec::new();
    while let Some(key) = confirmed(&mut host, &mut bytes).await {
        let waiter = (unconfirmed.lock().as_mut()).and_then(|all| all.remove(&key));
        // One who has given up needs not know.
        let _ = waiter.map(|waiter| waiter.send(()));
    }
    *unconfirmed.lock() = None;
}

/// Reads on until the end of a log is confirmed, and tells whose. `None` if that can't happen any more.
async fn confirmed(host: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some((frame, length)) = Frame::decode(bytes).ok()? {
            let key = (frame.kind == Kind::Acknowledged).then(|| frame.key.to_vec());
            bytes.drain(..length);
            if key.is_some() {
                return key;
            }
        } else if host.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}
