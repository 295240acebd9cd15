//! What the channels of a WebSocket are for: the streams of a command, or the ports of a pod.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::join_all;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};

use crate::activity::Activity;
use crate::conversation::{Ending, Outcome, converse};
use crate::executor::Executor;
use crate::limits::Limits;
use crate::output::Output;
use crate::port_forward::{PortStreams, forward};
use crate::remote_command::{self, CommandStreams};
use crate::request::Request;
use crate::status::StatusForm;
use crate::websocket::channel::{ERROR, RESIZE, STDERR, STDIN, STDOUT};
use crate::websocket::{self, Encoding, Outlet, Violation};

/// Most ports of one session: each takes two channels.
pub(crate) const PORTS_MAX: usize = 100;

/// Serves a client that asked for exec or attach.
pub(crate) async fn command<S: AsyncRead + AsyncWrite + Unpin + Send>(
    io: S,
    request: &Request,
    (encoding, status): (Encoding, StatusForm),
    executor: &dyn Executor,
    activity: &Arc<Activity>,
    limits: &Limits,
) -> Ending<Violation> {
    let wanted = request.wanted();
    let mut inboxes = Inboxes::new(limits.inbox_bytes);
    let stdin = wanted.stdin.then(|| inboxes.open(STDIN));
    let resize = wanted.terminal.then(|| inboxes.open(RESIZE));
    let socket = websocket::accept(io, limits).await;
    let connection = websocket::connect(socket, encoding, inboxes.all, activity.clone());
    let output = |channel| Output::WebSocket(connection.outlet(channel));
    let streams = CommandStreams {
        stdin,
        stdout: wanted.stdout.then(|| output(STDOUT)),
        stderr: wanted.stderr.then(|| output(STDERR)),
        resize,
        error: output(ERROR),
        status,
    };
    let (mut listener, talker) = connection.split();
    let session = async move {
        greet(&streams).await;
        remote_command::run(request, executor, streams, limits.drain).await;
        Outcome::Finished
    };
    converse(session, listener.run(), talker, activity, limits).await
}

/// An empty message on the lowest channel tells the client that all is set up.
async fn greet(streams: &CommandStreams) {
    let lowest = streams.stdout.as_ref().or(streams.stderr.as_ref());
    let _ = lowest.unwrap_or(&streams.error).send_text("").await;
}

/// Serves a client that forwards the ports that the request names.
pub(crate) async fn ports<S: AsyncRead + AsyncWrite + Unpin + Send>(
    io: S,
    request: &Request,
    encoding: Encoding,
    executor: &dyn Executor,
    activity: &Arc<Activity>,
    limits: &Limits,
) -> Ending<Violation> {
    let Request::PortForward(request) = request else {
        return Ending::NoStreams;
    };
    let ports = request
        .port
        .iter()
        .filter_map(|port| u16::try_from(*port).ok());
    let channels = (0u8..).step_by(2).zip(ports.take(PORTS_MAX));
    let mut inboxes = Inboxes::new(limits.inbox_bytes);
    let pairs: Vec<_> = channels
        .map(|(channel, port)| (channel, port, inboxes.open(channel)))
        .collect();
    let socket = websocket::accept(io, limits).await;
    let connection = websocket::connect(socket, encoding, inboxes.all, activity.clone());
    let pairs: Vec<_> = pairs
        .into_iter()
        .map(|(channel, port, inbox)| {
            let error = connection.outlet(channel + 1);
            (port, inbox, connection.outlet(channel), error)
        })
        .collect();
    let (mut listener, talker) = connection.split();
    let session = async move {
        let all = pairs
            .into_iter()
            .map(|(port, inbox, data, error)| async move {
                let _ = announce(port, &data, &error).await;
                let streams = PortStreams {
                    port,
                    inbox,
                    data: Output::WebSocket(data),
                    error: Output::WebSocket(error),
                    was_reset: None,
                };
                forward(request, executor, streams).await;
            });
        join_all(all).await;
        Outcome::Finished
    };
    converse(session, listener.run(), talker, activity, limits).await
}

/// The first message on both channels of a port is its number.
async fn announce(port: u16, data: &Outlet, error: &Outlet) -> Result<(), crate::output::Gone> {
    data.send(&port.to_le_bytes()).await?;
    error.send(&port.to_le_bytes()).await
}

/// Inboxes of channels.
struct Inboxes {
    all: HashMap<u8, DuplexStream>,
    bytes: usize,
}

impl Inboxes {
    fn new(bytes: usize) -> Self {
        Self {
            all: HashMap::new(),
            bytes,
        }
    }

    /// The reading end of the inbox of `channel`.
    fn open(&mut self, channel: u8) -> DuplexStream {
        let (theirs, ours) = duplex(self.bytes);
        self.all.insert(channel, theirs);
        ours
    }
}
