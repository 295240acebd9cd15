//! A channel to the client.

use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::channel::Encoding;
use crate::output::Gone;

/// A channel to the client. Each message waits for room in the connection's queue.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(super) channel: u8,
    pub(super) encoding: Encoding,
    pub(super) queue: mpsc::Sender<Message>,
}

impl Outlet {
    /// Sends `payload` as one message.
    pub(crate) async fn send(&self, payload: &[u8]) -> Result<(), Gone> {
        let message = self.encoding.encode(self.channel, payload);
        self.queue.send(message).await.map_err(|_| Gone)
    }
}
