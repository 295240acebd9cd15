//! A connection with channels: its two halves.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use futures::stream::SplitSink;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use super::Outlet;
use super::channel::Encoding;
use super::listener::Listener;
use crate::activity::Activity;
use crate::conversation::Talk;
use crate::limits::Limits;

/// Messages that may wait to be written.
const MESSAGES: usize = 4;
/// Bytes that are read or written at once.
const BUFFER: usize = 32 * 1024;

/// The server's side of a connection.
pub(crate) type Socket<S> = WebSocketStream<S>;

/// The server's side of a connection whose handshake is done.
pub(crate) async fn accept<S>(io: S, limits: &Limits) -> Socket<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .max_message_size(Some(limits.message_bytes))
        .max_frame_size(Some(limits.message_bytes))
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER);
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

/// A connection with channels.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    listener: Listener<S>,
    talker: Talker<S>,
    queue: mpsc::Sender<Message>,
    encoding: Encoding,
}

/// The halves of a connection, both to be polled for as long as it lives.
pub(crate) fn connect<S>(
    socket: Socket<S>,
    encoding: Encoding,
    inboxes: HashMap<u8, DuplexStream>,
    activity: Arc<Activity>,
) -> Connection<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (sink, messages) = socket.split();
    let (queue, queued) = mpsc::channel(MESSAGES);
    Connection {
        listener: Listener {
            messages,
            encoding,
            inboxes,
            activity: activity.clone(),
            queue: queue.downgrade(),
        },
        talker: Talker {
            sink,
            queued,
            activity,
        },
        queue,
        encoding,
    }
}

impl<S> Connection<S> {
    /// A channel to the client.
    pub(crate) fn outlet(&self, channel: u8) -> Outlet {
        Outlet {
            channel,
            encoding: self.encoding,
            queue: self.queue.clone(),
        }
    }

    /// The two halves; from now on the queue ends when the last outlet does.
    pub(crate) fn split(self) -> (Listener<S>, Talker<S>) {
        (self.listener, self.talker)
    }
}

/// The sending half of a connection.
#[derive(Debug)]
pub(crate) struct Talker<S> {
    sink: SplitSink<Socket<S>, Message>,
    queued: mpsc::Receiver<Message>,
    activity: Arc<Activity>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Talk for Talker<S> {
    async fn talk(&mut self) -> io::Result<()> {
        while let Some(message) = self.queued.recv().await {
            let len = message.len();
            self.sink.feed(message).await.map_err(as_io)?;
            if self.queued.is_empty() {
                self.sink.flush().await.map_err(as_io)?;
            }
            self.activity.sent(len);
        }
        // The end of all channels; the client waits for it.
        let close = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        let close = Message::Close(Some(close));
        self.sink.send(close).await.map_err(as_io)
    }

    /// Nothing: after a `Close` there are no more frames (RFC 6455 §5.5.1).
    async fn answer(&mut self) -> io::Result<()> {
        std::future::pending().await
    }

    async fn part(&mut self) -> io::Result<()> {
        self.sink.close().await.map_err(as_io)
    }
}

pub(super) fn as_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        error => io::Error::other(error),
    }
}
