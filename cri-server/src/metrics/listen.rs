//! The HTTP server of metrics: `GET /metrics`, and nothing else.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};

use super::text;
use crate::CriServer;

/// Scrapers at once; more of them wait in the kernel.
const CLIENTS: usize = 8;
/// How long a scraper may keep its connection.
const PATIENCE: Duration = Duration::from_secs(30);
/// After an accept that failed, for want of descriptors for example.
const PAUSE: Duration = Duration::from_millis(200);

/// Metrics can't be served.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address} for metrics")]
pub(crate) struct OpenError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Begins to serve, if the operator wants it, for as long as there is a server.
pub(crate) async fn open(server: &Arc<CriServer>) -> Result<(), OpenError> {
    let Some(address) = server.config.metrics.address else {
        return Ok(());
    };
    let failed = |source| OpenError { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    info!(%address, "metrics are served");
    tokio::spawn(accept(listener, Arc::downgrade(server)));
    Ok(())
}

async fn accept(listener: TcpListener, server: Weak<CriServer>) {
    let turns = Arc::new(Semaphore::new(CLIENTS));
    while server.strong_count() > 0 {
        let turn = turns.clone().acquire_owned().await;
        match listener.accept().await {
            Ok((stream, client)) => {
                let server = server.clone();
                tokio::spawn(async move {
                    let served = tokio::time::timeout(PATIENCE, serve(stream, server)).await;
                    if !matches!(served, Ok(Ok(()))) {
                        debug!(%client, ?served, "a scraper was not served to its end");
                    }
                    drop(turn);
                });
            }
            Err(error) => {
                warn!(%error, "accept a scraper");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, server: Weak<CriServer>) -> hyper::Result<()> {
    let service = service_fn(|request| {
        let answer = answer(&request, &server);
        async { Ok::<_, Infallible>(answer) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn answer(request: &Request<Incoming>, server: &Weak<CriServer>) -> Response<Full<Bytes>> {
    let plain = |status, body: &'static str| {
        let mut answer = Response::new(Full::from(body));
        *answer.status_mut() = status;
        answer
    };
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n");
    }
    if request.method() != Method::GET {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "");
        answer
            .headers_mut()
            .insert(ALLOW, hyper::header::HeaderValue::from_static("GET"));
        return answer;
    }
    let text = server.upgrade().and_then(|server| text(&server).ok());
    let Some(text) = text else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "the server is ending\n");
    };
    let mut answer = Response::new(Full::from(text));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let kind = hyper::header::HeaderValue::from_static(kind);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}
