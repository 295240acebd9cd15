//! The streams: exec, attach, port-forward, events.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Client, Error};
use crate::v1::{self, stream_input::Input, stream_output::Output};

/// Messages that wait for the connection before the sender waits too.
const QUEUE: usize = 8;

/// How long a stream may take to begin. What keeps it from that may be a directory on a server that is
/// gone, or a guest with something in mind; a node with too little CPU is slow, not broken.
const BEGIN: Duration = Duration::from_secs(60);

/// A process's streams. Dropping it ends an exec'd process, and detaches from an attached one.
#[derive(Debug)]
pub struct Session {
    doing: &'static str,
    /// What goes in: stdin, its end, a new size. Full means that the process reads slowly.
    pub input: mpsc::Sender<v1::StreamInput>,
    output: Streaming<v1::StreamOutput>,
}

impl Session {
    /// The next thing that comes out; `None` once the stream is over.
    pub async fn next(&mut self) -> Result<Option<Output>, Error> {
        let message = self
            .output
            .message()
            .await
            .map_err(|e| refused(self.doing, e))?;
        Ok(message.and_then(|message| message.output))
    }

    /// The two halves, to be driven by tasks of their own.
    pub fn split(self) -> (mpsc::Sender<v1::StreamInput>, Streaming<v1::StreamOutput>) {
        (self.input, self.output)
    }
}

/// A TCP connection to a port inside the pod.
#[derive(Debug)]
pub struct DialSession {
    /// What goes in. Full means that the port's owner reads slowly.
    pub input: mpsc::Sender<v1::DialInput>,
    /// What comes out.
    pub output: Streaming<v1::DialOutput>,
}

/// What a process that ran to its end had to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its standard output, or the beginning of it.
    pub stdout: Vec<u8>,
    /// Its standard error, or the beginning of it.
    pub stderr: Vec<u8>,
    /// 0 to 255; 128 + signal where a signal ended it.
    pub code: u32,
    /// The timeout killed it.
    pub timed_out: bool,
    /// There was more output than the cap allows.
    pub truncated: bool,
}

/// Most bytes of each stream that [`Client::exec_sync`] keeps, as in other runtimes.
pub const EXEC_SYNC_CAP: usize = 16 * 1024 * 1024;

impl Client {
    /// Runs a process in a container. Returns once it runs.
    pub async fn exec(&self, start: v1::StreamStart) -> Result<Session, Error> {
        let begin = async {
            let (input, requests) = first(Input::Start(start));
            let output = self.streams.clone().exec(requests).await;
            started("exec", input, output).await
        };
        in_time("exec", begin).await
    }

    /// Joins the streams of a container's first process. Returns once they are joined.
    pub async fn attach(&self, start: v1::StreamStart) -> Result<Session, Error> {
        let begin = async {
            let (input, requests) = first(Input::Start(start));
            let output = self.streams.clone().attach(requests).await;
            started("attach", input, output).await
        };
        in_time("attach", begin).await
    }

    /// Runs a process to its end and collects at most `cap` bytes of each of its outputs.
    pub async fn exec_sync(&self, start: v1::StreamStart, cap: usize) -> Result<ExecOutput, Error> {
        let mut session = self.exec(start).await?;
        let mut collected = ExecOutput::default();
        while let Some(output) = session.next().await? {
            match output {
                Output::Started(_) => {}
                Output::Stdout(bytes) => {
                    collected.truncated |= keep(&mut collected.stdout, bytes, cap)
                }
                Output::Stderr(bytes) => {
                    collected.truncated |= keep(&mut collected.stderr, bytes, cap)
                }
                Output::Exit(exit) => {
                    // A guest may claim any number.
                    collected.code = exit.code.min(255);
                    collected.timed_out = exit.timed_out;
                    return Ok(collected);
                }
            }
        }
        Err(Error::Ended { doing: "exec" })
    }

    /// Connects to `port` inside the pod. Returns once the connection stands.
    pub async fn dial(&self, port: u16) -> Result<DialSession, Error> {
        in_time("dial", self.dial_unlimited(port)).await
    }

    async fn dial_unlimited(&self, port: u16) -> Result<DialSession, Error> {
        use v1::{dial_input, dial_output};
        let (input, receiver) = mpsc::channel(QUEUE);
        let start = v1::DialStart {
            port: u32::from(port),
        };
        let message = v1::DialInput {
            input: Some(dial_input::Input::Start(start)),
        };
        input.try_send(message).expect("a new queue has room");
        let reply = self
            .streams
            .clone()
            .dial(ReceiverStream::new(receiver))
            .await;
        let mut output = reply.map_err(|e| refused("dial", e))?.into_inner();
        match output
            .message()
            .await
            .map_err(|e| refused("dial", e))?
            .and_then(|m| m.output)
        {
            Some(dial_output::Output::Connected(_)) => Ok(DialSession { input, output }),
            _ => Err(Error::Ended { doing: "dial" }),
        }
    }

    /// What happened after event number `after`, then what happens.
    pub async fn events(&self, after: u64) -> Result<Streaming<v1::Event>, Error> {
        // Beside the calls: streams that nobody reads must not hold up what happens.
        let reply = self.calls.clone().events(v1::EventsRequest { after }).await;
        Ok(reply.map_err(|e| refused("watch events", e))?.into_inner())
    }
}

/// Waits until a stream has begun, but not for ever. Given up, it is reset, which ends it for the agent.
async fn in_time<T>(
    doing: &'static str,
    begin: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let begun = tokio::time::timeout(BEGIN, begin).await;
    begun.unwrap_or(Err(Error::TimedOut { doing }))
}

/// The queue of a stream whose first message is already in it.
fn first(
    input: Input,
) -> (
    mpsc::Sender<v1::StreamInput>,
    ReceiverStream<v1::StreamInput>,
) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let message = v1::StreamInput { input: Some(input) };
    sender.try_send(message).expect("a new queue has room");
    (sender, ReceiverStream::new(receiver))
}

/// Waits for `Started`: an error of exec or attach comes instead of it.
async fn started(
    doing: &'static str,
    input: mpsc::Sender<v1::StreamInput>,
    reply: Result<tonic::Response<Streaming<v1::StreamOutput>>, Status>,
) -> Result<Session, Error> {
    let output = reply.map_err(|e| refused(doing, e))?.into_inner();
    let mut session = Session {
        doing,
        input,
        output,
    };
    match session.next().await? {
        Some(Output::Started(_)) => Ok(session),
        _ => Err(Error::Ended { doing }),
    }
}

/// Appends what fits under `cap`, and tells whether something did not.
fn keep(kept: &mut Vec<u8>, bytes: Bytes, cap: usize) -> bool {
    let room = cap.saturating_sub(kept.len());
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    bytes.len() > room
}

fn refused(doing: &'static str, status: Status) -> Error {
    Error::Refused {
        doing,
        source: Box::new(status),
    }
}
