//! A process's streams: messages of the agent's protocol on one side, bytes on the other.
//!
//! Nothing here grows: a slow reader fills its pipe, then the connection's window, and then the agent
//! stops reading from the process. In the other direction it is the same.

use std::pin::Pin;
use std::task::{Context, Poll};

use agent_api::client::{DialSession, Session};
use agent_api::v1::{self, dial_input, dial_output, stream_input::Input, stream_output::Output};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::sync::{mpsc, oneshot};
use tonic::Streaming;

use crate::{Connection, ExecExit, ExecSpec, Process};

/// Bytes of each stream that may wait here.
const PIPE: usize = 64 * 1024;

/// Bytes of stdin in one message.
const CHUNK: usize = 32 * 1024;

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
    let (stdout, stdout_sink) = pipe(spec.stdout);
    let (stderr, stderr_sink) = pipe(spec.stderr && !spec.terminal);
    tokio::spawn(pump_sizes(sizes, input.clone()));
    let sinks = Sinks {
        stdout: stdout_sink,
        stderr: stderr_sink,
    };
    // The input is held until the process has ended: its end would mean that nobody cares any more.
    tokio::spawn(pump_output(output, sinks, exit_sender, input));
    Process {
        stdin,
        stdout: stdout.map(|stream| Box::pin(stream) as _),
        stderr: stderr.map(|stream| Box::pin(stream) as _),
        resize,
        exit,
    }
}

fn pipe(wanted: bool) -> (Option<DuplexStream>, Option<DuplexStream>) {
    if !wanted {
        return (None, None);
    }
    let (ours, theirs) = duplex(PIPE);
    (Some(ours), Some(theirs))
}

async fn pump_stdin(mut stdin: DuplexStream, input: mpsc::Sender<v1::StreamInput>) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let message = match stdin.read(&mut chunk).await {
            Ok(len) if len > 0 => Input::Stdin(chunk[..len].to_vec().into()),
            _ => Input::StdinEnd(v1::Empty {}),
        };
        let over = matches!(message, Input::StdinEnd(_));
        if send(&input, message).await.is_err() || over {
            return;
        }
    }
}

/// The two directions of a connection into a sandbox.
pub(super) fn connection(session: DialSession) -> Connection {
    let (reader, sink) = duplex(PIPE);
    let (writer, source) = duplex(PIPE);
    let (read, reader_gone) = oneshot::channel();
    let DialSession { input, output } = session;
    tokio::spawn(pump_in(source, input));
    tokio::spawn(async move {
        tokio::select! {
            () = pump_out(output, sink) => {}
            _ = reader_gone => {}
        }
    });
    let reader = Reader {
        reader,
        _read: read,
    };
    Connection {
        reader: Box::pin(reader),
        writer: Box::pin(writer),
    }
}

/// The reading half of a connection; it is known at once when it is dropped, not only when the other
/// side sends something.
struct Reader {
    reader: DuplexStream,
    _read: oneshot::Sender<()>,
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(context, buffer)
    }
}

/// Until we have sent everything. The end of the connection is told by the end of the call's input,
/// which only comes when the reader is gone, too.
async fn pump_in(mut source: DuplexStream, input: mpsc::Sender<v1::DialInput>) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let message = match source.read(&mut chunk).await {
            Ok(len) if len > 0 => dial_input::Input::Data(chunk[..len].to_vec().into()),
            _ => dial_input::Input::End(v1::Empty {}),
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

/// Until the other side has sent everything, or nobody reads any more.
async fn pump_out(mut output: Streaming<v1::DialOutput>, mut sink: DuplexStream) {
    while let Ok(Some(message)) = output.message().await {
        match message.output {
            Some(dial_output::Output::Data(bytes)) => {
                if sink.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Some(dial_output::Output::End(_)) => return,
            Some(dial_output::Output::Connected(_)) | None => {}
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
    stdout: Option<DuplexStream>,
    stderr: Option<DuplexStream>,
}

impl Sinks {
    async fn write(sink: &mut Option<DuplexStream>, bytes: &[u8]) {
        if let Some(stream) = sink
            && stream.write_all(bytes).await.is_err()
        {
            *sink = None;
        }
    }

    /// Hands on what came out; answers how the process ended, once it has.
    async fn take(&mut self, output: Output) -> Option<v1::ExecExit> {
        match output {
            Output::Stdout(bytes) => Self::write(&mut self.stdout, &bytes).await,
            Output::Stderr(bytes) => Self::write(&mut self.stderr, &bytes).await,
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
