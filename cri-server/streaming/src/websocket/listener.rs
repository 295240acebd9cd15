//! What comes from the client: messages, into the inboxes of channels.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::SplitStream;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{self, Message};

use super::Socket;
use super::channel::{ChannelError, Encoding, Received};
use crate::activity::Activity;
use crate::delivery::{Delivered, deliver};

/// For the client to take the answer to its goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why a connection can't go on: what the client sent means nothing, or is too much.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Violation {
    /// The client does not follow the protocol, or sends messages that are too long.
    #[error("read a message")]
    Protocol(#[from] tungstenite::Error),
    /// It names its channels wrongly.
    #[error("find the channel of a message")]
    Channel(#[from] ChannelError),
}

/// The receiving half of a connection. It stands still while the reader of a channel does.
#[derive(Debug)]
pub(crate) struct Listener<S> {
    pub(super) messages: SplitStream<Socket<S>>,
    pub(super) encoding: Encoding,
    pub(super) inboxes: HashMap<u8, DuplexStream>,
    pub(super) activity: Arc<Activity>,
    /// Weak, so that the queue ends when all outlets are gone.
    pub(super) queue: mpsc::WeakSender<Message>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Listener<S> {
    /// Reads until the client closes the connection, or sends what makes no sense.
    pub(crate) async fn run(&mut self) -> Result<(), Violation> {
        while let Some(message) = self.messages.next().await {
            let message = match message {
                Ok(Message::Close(_)) => {
                    // Reading on is what sends the answer.
                    let answer = async { while let Some(Ok(_)) = self.messages.next().await {} };
                    let _ = tokio::time::timeout(GOODBYE, answer).await;
                    return Ok(());
                }
                Ok(message) => message,
                Err(error) if is_end(&error) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            self.activity.received(message.len());
            match self.encoding.decode(message)? {
                Received::Bytes(channel, bytes) => {
                    if self.pass_on(channel, &bytes).await == Delivered::ClientGone {
                        return Ok(());
                    }
                }
                Received::End(channel) => drop(self.inboxes.remove(&channel)),
                Received::Nothing => {}
            }
        }
        Ok(())
    }

    async fn pass_on(&mut self, channel: u8, bytes: &[u8]) -> Delivered {
        // What nobody asked for is dropped, as other implementations do.
        let Some(inbox) = self.inboxes.get_mut(&channel) else {
            return Delivered::Unwanted;
        };
        let beat = || {
            // An answer to no ping (RFC 6455 §5.5.3), which is not answered itself.
            let pong = Message::Pong(Bytes::new());
            self.queue.upgrade().map(|queue| queue.try_send(pong));
        };
        let delivered = deliver(inbox, bytes, &self.activity, beat).await;
        if delivered == Delivered::Unwanted {
            self.inboxes.remove(&channel);
        }
        delivered
    }
}

/// The connection is over, in whatever manner; not the client's mistake.
pub(super) fn is_end(error: &tungstenite::Error) -> bool {
    use tungstenite::Error as E;
    use tungstenite::error::ProtocolError;
    matches!(
        error,
        E::ConnectionClosed
            | E::AlreadyClosed
            | E::Io(_)
            | E::Protocol(ProtocolError::ResetWithoutClosingHandshake)
    )
}
