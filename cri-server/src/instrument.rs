//! Round every RPC: a task of its own, so that a client that leaves can't cut it in half; one span,
//! one log line, one timer.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tonic::{Request, Response, Status};
use tracing::{Instrument, debug, info, info_span, warn};

use crate::CriServer;
use crate::error::{Error, Kind, Result, chain};
use crate::grpc_status;

/// How much a call is worth in the log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rpc {
    /// The kubelet asks every second.
    Poll(&'static str),
    /// Something changes.
    Change(&'static str),
}

/// Runs the body of an RPC. `subject` says what it is about, for the log.
pub(crate) async fn call<Q, A, F>(
    server: &Arc<CriServer>,
    rpc: Rpc,
    subject: impl FnOnce(&Q) -> String,
    request: Request<Q>,
    body: impl FnOnce(Arc<CriServer>, Q) -> F,
) -> Result<Response<A>, Status>
where
    A: Send + 'static,
    F: Future<Output = Result<A>> + Send + 'static,
{
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let request = request.into_inner();
    let (Rpc::Poll(name) | Rpc::Change(name)) = rpc;
    let number = CALLS.fetch_add(1, Ordering::Relaxed);
    let span = info_span!("rpc", name, number, subject = subject(&request));
    let body = body(server.clone(), request);
    let started = Instant::now();
    let task = async move {
        let answer = body.await;
        log(rpc, &answer, started);
        answer
    };
    let answer = match tokio::spawn(task.instrument(span)).await {
        Ok(answer) => answer,
        Err(panic) => {
            tracing::error!(rpc = name, number, error = chain(&panic), "call panicked");
            Err(Error::new(
                Kind::Internal,
                format!("{name} broke off; see the log"),
            ))
        }
    };
    let answer = answer.map_err(|error| grpc_status::status(&error));
    server
        .metrics
        .answered(name, grpc_status::code_of(&answer), started.elapsed());
    answer.map(Response::new)
}

fn log<A>(rpc: Rpc, answer: &Result<A>, started: Instant) {
    let took = started.elapsed();
    match (answer, rpc) {
        (Ok(_), Rpc::Poll(_)) => debug!(?took, "done"),
        (Ok(_), Rpc::Change(_)) => info!(?took, "done"),
        (Err(error), _) => {
            let (kind, error) = (error.kind(), chain(error));
            match kind {
                // Ours or the node's to mend; the rest is the client's.
                Kind::Internal | Kind::Unavailable | Kind::NoSpace | Kind::TimedOut => {
                    warn!(?took, ?kind, error, "failed");
                }
                _ => info!(?took, ?kind, error, "refused"),
            }
        }
    }
}
