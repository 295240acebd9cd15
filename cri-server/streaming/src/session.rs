//! A session: a client with a token and a protocol, until one of them has enough.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;
use tracing::{info, warn};

use crate::activity::Activity;
use crate::conversation::Ending;
use crate::counters::add;
use crate::executor::chain;
use crate::request::Request;
use crate::server::Shared;
use crate::upgrade::Dialect;
use crate::websocket::{self, Tunnel};
use crate::{spdy_session, websocket_session};

/// What a client's token and headers come to.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) request: Request,
    pub(crate) dialect: Dialect,
    /// Its name, for the log.
    pub(crate) protocol: &'static str,
    /// One of the sessions that there may be.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// A client with a token and a protocol.
#[derive(Debug)]
pub(crate) struct Session {
    io: TokioIo<Upgraded>,
    granted: Granted,
}

impl Session {
    pub(crate) fn new(io: TokioIo<Upgraded>, granted: Granted) -> Self {
        Self { io, granted }
    }

    /// Serves the client until the end, and logs which it was.
    pub(crate) async fn run(self, client: SocketAddr, activity: Arc<Activity>, shared: &Shared) {
        let Granted {
            request,
            dialect,
            protocol,
            permit,
        } = self.granted;
        let counted = Counted::start(shared, activity.clone());
        let ended = serve(self.io, &request, dialect, &activity, shared).await;
        drop(counted);
        drop(permit);
        ended.count(shared);
        let kind = request.kind().path();
        let id = request.target();
        let (received, sent) = activity.bytes();
        let took = activity.age();
        let how = ended.how;
        match ended.violation {
            None => {
                info!(kind, id, protocol, %client, received, sent, ?took, how, "streaming session ended")
            }
            Some(error) => {
                warn!(kind, id, protocol, %client, received, sent, ?took, how, error, "streaming session ended");
            }
        }
    }
}

async fn serve(
    io: TokioIo<Upgraded>,
    request: &Request,
    dialect: Dialect,
    activity: &Arc<Activity>,
    shared: &Shared,
) -> Ended {
    let (executor, limits) = (&shared.executor, &shared.limits);
    match dialect {
        Dialect::SpdyCommand(version) => {
            let executor = executor.as_ref();
            spdy_session::command(io, request, version, executor, activity, limits)
                .await
                .into()
        }
        Dialect::SpdyPorts => spdy_session::ports(io, request, executor.clone(), activity, limits)
            .await
            .into(),
        Dialect::Tunnel => {
            let tunnel = Tunnel::new(websocket::accept(io, limits).await);
            spdy_session::ports(tunnel, request, executor.clone(), activity, limits)
                .await
                .into()
        }
        Dialect::WebSocketCommand(encoding, status) => {
            let (form, executor) = ((encoding, status), executor.as_ref());
            websocket_session::command(io, request, form, executor, activity, limits)
                .await
                .into()
        }
        Dialect::WebSocketPorts(encoding) => {
            let executor = executor.as_ref();
            websocket_session::ports(io, request, encoding, executor, activity, limits)
                .await
                .into()
        }
    }
}

/// How a session ended, in words.
struct Ended {
    how: &'static str,
    violation: Option<String>,
}

impl<V: std::error::Error + 'static> From<Ending<V>> for Ended {
    fn from(ending: Ending<V>) -> Self {
        let (how, violation) = match ending {
            Ending::Finished => ("finished", None),
            Ending::ClientGone => ("client gone", None),
            Ending::Idle => ("idle", None),
            Ending::NoStreams => ("no streams", None),
            Ending::Violation(violation) => ("violation", Some(chain(&violation))),
        };
        Self { how, violation }
    }
}

impl Ended {
    fn count(&self, shared: &Shared) {
        match self.how {
            "client gone" => add(&shared.counters.clients_gone, 1),
            "idle" | "no streams" => add(&shared.counters.timed_out, 1),
            "violation" => add(&shared.counters.violations, 1),
            _ => {}
        }
    }
}

/// Counts a session in and, in whatever way it ends, out.
struct Counted<'a> {
    shared: &'a Shared,
    activity: Arc<Activity>,
}

impl<'a> Counted<'a> {
    fn start(shared: &'a Shared, activity: Arc<Activity>) -> Self {
        add(&shared.counters.started, 1);
        Self { shared, activity }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let (received, sent) = self.activity.bytes();
        add(&self.shared.counters.received_bytes, received);
        add(&self.shared.counters.sent_bytes, sent);
        add(&self.shared.counters.ended, 1);
    }
}
