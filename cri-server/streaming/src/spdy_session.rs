//! What the streams of a SPDY connection are for: those of a command, or pairs of forwarded connections.

mod command;
mod pairs;
mod ports;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::activity::Activity;
use crate::conversation::{Ending, Outcome, converse};
use crate::executor::Executor;
use crate::limits::Limits;
use crate::request::Request;
use crate::spdy::{self, Violation};

pub(crate) use command::Version;

/// Serves a client that asked for exec or attach.
pub(crate) async fn command<S: AsyncRead + AsyncWrite + Send>(
    io: S,
    request: &Request,
    version: Version,
    executor: &dyn Executor,
    activity: &Arc<Activity>,
    limits: &Limits,
) -> Ending<Violation> {
    let (mut connection, offers) = spdy::connect(io, limits, activity.clone());
    let open = connection.open;
    let session = async move {
        let outcome = command::serve(offers, request, version, executor, limits).await;
        drop(open);
        outcome
    };
    let listen = connection.reader.run();
    converse(session, listen, connection.writer, activity, limits).await
}

/// Serves a client that forwards ports.
pub(crate) async fn ports<S: AsyncRead + AsyncWrite + Send>(
    io: S,
    request: &Request,
    executor: Arc<dyn Executor>,
    activity: &Arc<Activity>,
    limits: &Limits,
) -> Ending<Violation> {
    let Request::PortForward(request) = request else {
        return Ending::NoStreams;
    };
    let (mut connection, offers) = spdy::connect(io, limits, activity.clone());
    let open = connection.open;
    let session = async move {
        ports::serve(offers, request, executor, limits).await;
        drop(open);
        Outcome::Finished
    };
    let listen = connection.reader.run();
    converse(session, listen, connection.writer, activity, limits).await
}
