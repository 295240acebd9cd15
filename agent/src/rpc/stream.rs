//! What exec and attach have in common: the first message, output on its way out, input on its way in.

use std::sync::Arc;

use agent_api::flow::PIECE;
use agent_api::v1::stream_input::Input;
use agent_api::v1::stream_output::Output;
use agent_api::v1::{Empty, StreamInput, StreamOutput, StreamStart};
use bytes::Bytes;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::Error;
use crate::container::tty;
use crate::stdio::{End, Gone, Sink, Stream};

/// Messages on their way to one client.
pub(super) const QUEUE: usize = 8;

/// Where the messages for a client go in.
pub(super) type ToClient = mpsc::Sender<Result<StreamOutput, Status>>;

/// The message that begins a stream.
pub(super) async fn start(input: &mut Streaming<StreamInput>) -> Result<StreamStart, Status> {
    match input.message().await?.and_then(|message| message.input) {
        Some(Input::Start(start)) => Ok(start),
        _ => Err(Error::Missing("start in its first message").into()),
    }
}

/// Says that the process runs, or that its streams are joined.
pub(super) async fn started(client: &ToClient) {
    // A client that is gone shows elsewhere.
    let _ = client.send(Ok(message(Output::Started(Empty {})))).await;
}

pub(super) fn message(output: Output) -> StreamOutput {
    StreamOutput {
        output: Some(output),
    }
}

pub(super) fn piece(stream: Stream, bytes: Bytes) -> StreamOutput {
    message(match stream {
        Stream::Stdout => Output::Stdout(bytes),
        Stream::Stderr => Output::Stderr(bytes),
    })
}

/// One stream of an exec'd process, straight to the client. It waits for the client: whoever execs a
/// process wants all of its output.
pub(super) struct ClientSink {
    pub(super) client: ToClient,
    pub(super) stream: Stream,
}

impl Sink for ClientSink {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        for part in bytes.chunks(PIECE) {
            let message = piece(self.stream, Bytes::copy_from_slice(part));
            self.client.send(Ok(message)).await.map_err(|_| Gone)?;
        }
        Ok(())
    }
}

/// Where a client's input goes.
pub(super) struct Inward {
    /// stdin, as long as it is open.
    pub(super) stdin: Arc<tokio::sync::Mutex<Option<Arc<End>>>>,
    /// The terminal, if there is one.
    pub(super) terminal: Option<Arc<End>>,
    /// stdin is closed when the client's ends.
    pub(super) close: bool,
}

impl Inward {
    /// Passes on what the client sends, until it sends no more.
    pub(super) async fn pass_on(&self, mut input: Streaming<StreamInput>) {
        while let Ok(Some(message)) = input.message().await {
            match message.input {
                Some(Input::Stdin(bytes)) => self.write(&bytes).await,
                Some(Input::StdinEnd(_)) => self.close().await,
                Some(Input::Resize(size)) => {
                    if let Some(terminal) = &self.terminal {
                        // A terminal whose process is gone has no size.
                        let _ = tty::resize(terminal, size.width, size.height);
                    }
                }
                Some(Input::Start(_)) | None => {}
            }
        }
        self.close().await;
    }

    async fn write(&self, bytes: &[u8]) {
        let end = self.stdin.lock().await.clone();
        if let Some(end) = end
            && end.write_all(bytes).await.is_err()
        {
            // Nobody reads it any more.
            *self.stdin.lock().await = None;
        }
    }

    /// A terminal stays open: it is the process's stdout too.
    pub(super) async fn close(&self) {
        if self.close && self.terminal.is_none() {
            *self.stdin.lock().await = None;
        }
    }
}
