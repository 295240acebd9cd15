//! Exec and attach, once the client's streams are there: bytes both ways, then how it ended.

use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::sync::watch;

use crate::copy::{copy_in, copy_out_until};
use crate::executor::{Error, Executor, Process};
use crate::output::Output;
use crate::request::Request;
use crate::resize;
use crate::status::StatusForm;

/// The client's ends of a process's streams.
#[derive(Debug)]
pub(crate) struct CommandStreams {
    pub(crate) stdin: Option<DuplexStream>,
    pub(crate) stdout: Option<Output>,
    pub(crate) stderr: Option<Output>,
    /// Terminal sizes in JSON.
    pub(crate) resize: Option<DuplexStream>,
    pub(crate) error: Output,
    pub(crate) status: StatusForm,
}

/// Starts what `request` asks for, serves the client until it has ended, and tells how.
pub(crate) async fn run(
    request: &Request,
    executor: &dyn Executor,
    mut streams: CommandStreams,
    drain: Duration,
) {
    let ended = match start(request, executor).await {
        Ok(process) => serve(process, &mut streams, drain).await,
        Err(error) => Err(error),
    };
    let ended = match (request, ended) {
        // Whoever only looked on is not told the exit code of what it looked at.
        (Request::Attach(_), Ok(_)) => Ok(0),
        (_, ended) => ended,
    };
    tell(&streams, &ended).await;
}

async fn start(request: &Request, executor: &dyn Executor) -> Result<Process, Error> {
    let (process, doing) = match request {
        Request::Exec(request) => (
            executor.exec(request).await,
            "error executing command in container",
        ),
        Request::Attach(request) => (
            executor.attach(request).await,
            "error attaching to container",
        ),
        Request::PortForward(_) => return Err("port-forward is no command".into()),
    };
    process.map_err(|source| Box::new(StartError { doing, source }) as Error)
}

/// A process that could not be started or joined.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
struct StartError {
    doing: &'static str,
    source: Error,
}

/// Until the process has ended and its output is with the client. Input never holds it up: the client
/// may keep its stdin open for as long as it likes.
async fn serve(
    process: Process,
    streams: &mut CommandStreams,
    drain: Duration,
) -> Result<u8, Error> {
    let Process {
        stdin,
        mut stdout,
        mut stderr,
        resize,
        exit,
    } = process;
    let input = pass_in(stdin, streams.stdin.take());
    let sizes = async {
        if let Some(inbox) = streams.resize.take() {
            resize::pass_on(inbox, &resize).await;
        }
    };
    let (has_ended, ended) = watch::channel(false);
    let exit = async {
        let ended = exit.await;
        has_ended.send_replace(true);
        ended
    };
    let (out, err) = (&streams.stdout, &streams.stderr);
    let output = async {
        tokio::join!(
            pass_out(&mut stdout, out, ended.clone(), drain),
            pass_out(&mut stderr, err, ended.clone(), drain),
            exit,
        )
    };
    let input = async {
        tokio::join!(input, sizes);
        std::future::pending().await
    };
    tokio::select! {
        ((), (), ended) = output => ended,
        never = input => never,
    }
}

type Stdin = Option<std::pin::Pin<Box<dyn tokio::io::AsyncWrite + Send>>>;
type Source = Option<std::pin::Pin<Box<dyn tokio::io::AsyncRead + Send>>>;

async fn pass_in(stdin: Stdin, inbox: Option<DuplexStream>) {
    if let (Some(mut stdin), Some(inbox)) = (stdin, inbox) {
        // A process that reads no more loses nothing; what the client still sends goes nowhere.
        let _ = copy_in(inbox, &mut stdin).await;
    }
}

async fn pass_out(
    source: &mut Source,
    output: &Option<Output>,
    ended: watch::Receiver<bool>,
    drain: Duration,
) {
    if let (Some(stream), Some(output)) = (source.as_mut(), output) {
        // A client that has reset the stream does not want the rest; the process is not to wait for it.
        let _ = copy_out_until(stream, output, ended, drain).await;
    }
    *source = None;
}

/// The status goes before the ends of the streams: a client that has seen these may look for it at once.
async fn tell(streams: &CommandStreams, ended: &Result<u8, Error>) {
    let status = streams.status.render(ended);
    if !status.is_empty() {
        let _ = streams.error.send_text(&status).await;
    }
    streams.error.finish().await;
    for output in [&streams.stdout, &streams.stderr].into_iter().flatten() {
        output.finish().await;
    }
}
