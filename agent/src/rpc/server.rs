//! HTTP/2 connections: the least that gRPC needs, on hyper.

use std::sync::Arc;
use std::time::Duration;

use agent_api::flow;
use agent_api::v1::agent_server::AgentServer;
use agent_api::version::MAX_MESSAGE;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use super::Service;
use crate::agent::Agent;

/// Clients at one time; whoever comes then waits.
const CONNECTIONS: usize = 64;

/// Calls at one time on one connection.
const CALLS: u32 = 256;

/// Answers whoever `accept` lets in, for ever.
pub(crate) async fn serve<A>(agent: &Arc<Agent>, accept: impl Fn() -> A)
where
    A: Future<Output = std::io::Result<UnixStream>>,
{
    let service = AgentServer::new(Service {
        agent: Arc::clone(agent),
    })
    .max_decoding_message_size(MAX_MESSAGE)
    .max_encoding_message_size(MAX_MESSAGE);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .expect("it is never closed");
        match accept().await {
            Ok(stream) => {
                let service = service.clone();
                tokio::spawn(async move {
                    answer(stream, service).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: others will end and give some back.
                tracing::warn!(%error, "accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, service: AgentServer<Service>) {
    let served = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(flow::STREAM_WINDOW)
        .initial_connection_window_size(flow::CONNECTION_WINDOW)
        .max_frame_size(flow::FRAME)
        .max_concurrent_streams(CALLS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection broke");
    }
}
