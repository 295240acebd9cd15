//! A process's streams: messages of the agent's protocol on one side, bytes on the other.
//!
//! Nothing here grows: a slow reader fills its pipe, then the connection's window, and then the agent
//! stops reading from the process. In the other direction it is the same.

use std::io;
use std::pin::Pin;

use agent_api::client::{DialSession, Session};
use agent_api::flow::PIECE;
use agent_api::v1::{self, dial_input, dial_output, stream_input::Input, stream_output::Output};
use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, duplex};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::StreamReader;
use tonic::Streaming;

use crate::{Connection, ExecExit, ExecSpec, Process};

/// Bytes on their way in that may wait here, of each stream.
const PIPE: usize = PIECE;

/// Pieces on their way out that may wait here, of each stream.
const PIECES: usize = 2;

/// Terminal sizes that may wait here; only the last matters.
const SIZES: usize = 4;

/// The streams that `spec` asks for.
pub(super) fn process(session: Session, spec: &ExecSpec) -> Process {
    let (input, output) = session.split();
    let (exit_sender, exit) = oneshot::channel();
    let (resize, sizes) = mpsc::channel(SIZES);
    let stdin = spec.stdin.then(|| {
        let (ours, theirs) = duplex(PIPE);
        tokio::spawn(pump_stdin(theirs, input.clone()));
        Box::pin(ours) as Pin<Box<dyn AsyncWrite + Send>>
    });
    let (stdout, stdout_sink) = outlet(spec.stdout);
    let (stderr, stderr_sink) = outlet(spec.stderr && !spec.terminal);
    tokio::spawn(pump_sizes(sizes, input.clone()));
    let sinks = Sinks {
        stdout: stdout_sink,
        stderr: stderr_sink,
    };
    // The input is held until the process has ended: its end would mean that nobody cares any more.
    tokio::spawn(pump_output(output, sinks, exit_sender, input));
    Process {
        stdin,
        stdout,
        stderr,
        resize,
        exit,
    }
}

/// Where pieces of output go in.
type Sink = mpsc::Sender<io::Result<Bytes>>;

/// Bytes for whoever asked for them, and where they come from.
fn outlet(wanted: bool) -> (Option<Pin<Box<dyn AsyncRead + Send>>>, Option<Sink>) {
    if !wanted {
        return (None, None);
    }
    let (sink, pieces) = mpsc::channel(PIECES);
    let reader = StreamReader::new(ReceiverStream::new(pieces));
    (Some(Box::pin(reader)), Some(sink))
}

async fn pump_stdin(mut stdin: DuplexStream, input: mpsc::Sender<v1::StreamInput>) {
    let mut buffer = BytesMut::new();
    loop {
        let message = match piece(&mut stdin, &mut buffer).await {
            Some(bytes) => Input::Stdin(bytes),
            None => Input::StdinEnd(v1::Empty {}),
        };
        let over = matches!(message, Input::StdinEnd(_));
        if send(&input, message).await.is_err() || over {
            return;
        }
    }
}

/// The next bytes out of `source`; `None` at its end. `buffer` has nothing in it before and after.
async fn piece(source: &mut DuplexStream, buffer: &mut BytesMut) -> Option<Bytes> {
    buffer.reserve(PIECE);
    match source.read_buf(&mut buffer.limit(PIECE)).await {
        Ok(1..) => Some(buffer.split().freeze()),
        _ => None,
    }
}

/// The two directions of a connection into a sandbox. The call ends with the reader.
pub(super) fn connection(session: DialSession) -> Connection {
    let (writer, source) = duplex(PIPE);
    let DialSession { input, output } = session;
    tokio::spawn(pump_in(source, input));
    // Until the other side has sent everything; a pod that dies ends the stream, too.
    let pieces = output.map_while(|message| match message.ok()?.output {
        Some(dial_output::Output::Data(bytes)) => Some(io::Result::Ok(bytes)),
        Some(dial_output::Output::End(_)) => None,
        Some(dial_output::Output::Connected(_)) | None => Some(Ok(Bytes::new())),
    });
    Connection {
        reader: Box::pin(StreamReader::new(pieces)),
        writer: Box::pin(writer),
    }
}

/// Until we have sent everything. The end of the connection is told by the end of the call's input,
/// which only comes when the reader is gone, too.
async fn pump_in(mut source: DuplexStream, input: mpsc::Sender<v1::DialInput>) {
    let mut buffer = BytesMut::new();
    loop {
        let message = match piece(&mut source, &mut buffer).await {
            Some(bytes) => dial_input::Input::Data(bytes),
            None => dial_input::Input::End(v1::Empty {}),
        };
        let over = matches!(message, dial_input::Input::End(_));
        let message = v1::DialInput {
            input: Some(message),
        };
        if input.send(message).await.is_err() {
            return;
        }
        if over {
            return input.closed().await;
        }
    }
}

async fn pump_sizes(mut sizes: mpsc::Receiver<(u16, u16)>, input: mpsc::Sender<v1::StreamInput>) {
    loop {
        // A process that has ended needs no size, even if somebody keeps the sender.
        let size = tokio::select! {
            size = sizes.recv() => size,
            () = input.closed() => None,
        };
        let Some((columns, rows)) = size else { return };
        let resize = v1::Resize {
            width: columns.into(),
            height: rows.into(),
        };
        if send(&input, Input::Resize(resize)).await.is_err() {
            return;
        }
    }
}

async fn send(input: &mpsc::Sender<v1::StreamInput>, message: Input) -> Result<(), ()> {
    let message = v1::StreamInput {
        input: Some(message),
    };
    input.send(message).await.map_err(drop)
}

/// Where output goes; a reader that let go of a stream gets no more of it.
struct Sinks {
    stdout: Option<Sink>,
    stderr: Option<Sink>,
}

impl Sinks {
    async fn write(sink: &mut Option<Sink>, bytes: Bytes) {
        if let Some(pieces) = sink
            && pieces.send(Ok(bytes)).await.is_err()
        {
            *sink = None;
        }
    }

    /// Hands on what came out; answers how the process ended, once it has.
    async fn take(&mut self, output: Output) -> Option<v1::ExecExit> {
        match output {
            Output::Stdout(bytes) => Self::write(&mut self.stdout, bytes).await,
            Output::Stderr(bytes) => Self::write(&mut self.stderr, bytes).await,
            Output::Exit(exit) => return Some(exit),
            Output::Started(_) => {}
        }
        None
    }
}

async fn pump_output(
    mut output: Streaming<v1::StreamOutput>,
    mut sinks: Sinks,
    mut exit: oneshot::Sender<ExecExit>,
    input: mpsc::Sender<v1::StreamInput>,
) {
    let ended = async {
        while let Ok(Some(message)) = output.message().await {
            if let Some(output) = message.output
                && let Some(told) = sinks.take(output).await
            {
                return Some(told);
            }
        }
        None
    };
    // Nobody waits for the exit any more: letting go of the stream ends an exec'd process.
    let ended = tokio::select! {
        ended = ended => ended,
        () = exit.closed() => None,
    };
    drop(input);
    // First the ends of the streams, then how it ended.
    drop(sinks);
    if let Some(told) = ended {
        let _ = exit.send(ExecExit {
            code: u8::try_from(told.code).unwrap_or(u8::MAX),
            timed_out: told.timed_out,
        });
    }
}
