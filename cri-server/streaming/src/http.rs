//! The one HTTP request of a connection: a token, and an upgrade.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tracing::debug;

use crate::counters::add;
use crate::request::{Kind, Request};
use crate::server::Shared;
use crate::session::{Granted, Session};
use crate::upgrade::{Refused, agree};

/// Longest head of a request.
const HEAD_MAX: usize = 32 * 1024;
/// Most headers of a request.
const HEADERS_MAX: usize = 100;

type Answer = Response<Full<Bytes>>;

/// Answers the request on `io`; a session if the client has a token and a protocol that we know.
pub(crate) async fn serve<S>(io: S, shared: &Arc<Shared>) -> Option<Session>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let granted = Arc::new(Mutex::new(None));
    let service = service_fn(|mut request: hyper::Request<Incoming>| {
        let answer = match grant(&mut request, shared) {
            Ok((grant, answer)) => {
                *granted.lock() = Some((grant, hyper::upgrade::on(&mut request)));
                answer
            }
            Err(answer) => *answer,
        };
        async { Ok::<_, Infallible>(answer) }
    });
    // Not without keep-alive: hyper would add `close` to the upgrade's `Connection`, and Go's clients
    // drop the whole header then. Refusals say `close` themselves.
    let served = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        debug!(%error, "a request did not come to its end");
    }
    let (grant, upgrade) = granted.lock().take()?;
    match upgrade.await {
        Ok(upgraded) => Some(Session::new(TokioIo::new(upgraded), grant)),
        Err(error) => {
            debug!(%error, "a client did not wait for its upgrade");
            None
        }
    }
}

/// Without a valid token all requests look alike.
fn grant(
    http: &mut hyper::Request<Incoming>,
    shared: &Shared,
) -> Result<(Granted, Answer), Box<Answer>> {
    let refuse = |answer| {
        add(&shared.counters.refused, 1);
        Err(Box::new(answer))
    };
    let Some(request) = redeem(http, shared) else {
        // Not louder: whoever reaches the port could fill the log.
        debug!("a request without a valid token");
        return refuse(plain(StatusCode::NOT_FOUND, ""));
    };
    let Ok(permit) = shared.sessions.clone().try_acquire_owned() else {
        let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, "too many sessions");
        answer
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("5"));
        return refuse(answer);
    };
    match agree(&request, http.method(), http.headers()) {
        Ok(agreed) => {
            let mut answer = plain(StatusCode::SWITCHING_PROTOCOLS, "");
            *answer.headers_mut() = agreed.headers;
            let (dialect, protocol) = (agreed.dialect, agreed.protocol);
            Ok((
                Granted {
                    request,
                    dialect,
                    protocol,
                    permit,
                },
                answer,
            ))
        }
        Err(Refused {
            status,
            headers,
            why,
        }) => {
            debug!(
                kind = request.kind().path(),
                id = request.target(),
                why,
                "no upgrade"
            );
            let mut answer = plain(status, why);
            answer.headers_mut().extend(headers);
            refuse(answer)
        }
    }
}

fn redeem(http: &hyper::Request<Incoming>, shared: &Shared) -> Option<Request> {
    if !matches!(*http.method(), Method::GET | Method::POST) {
        return None;
    }
    // The host is whatever the client of the API server typed, and no concern of ours.
    let (kind, token) = Kind::parse(http.uri().path())?;
    shared.tokens.redeem(kind, token, Instant::now())
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::from(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(CONNECTION, close);
    if !text.is_empty() {
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        answer.headers_mut().insert(CONTENT_TYPE, kind);
    }
    answer
}
