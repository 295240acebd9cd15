//! A registry in this process that does what a test tells it to.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use image_service::Digest;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

type Rule = Box<dyn Fn(&Seen) -> Option<Reply> + Send + Sync>;

/// The registry; it ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct MiniRegistry {
    /// `127.0.0.1:port`.
    pub(crate) host: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Content by path below `/v2/`.
    content: Mutex<HashMap<String, (String, Bytes)>>,
    seen: Mutex<Vec<Seen>>,
    rule: Mutex<Option<Rule>>,
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    /// With the query.
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) range: Option<String>,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }

    pub(crate) fn is_manifest(&self) -> bool {
        self.path.contains("/manifests/")
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// The connection breaks after so many bytes of the body.
    pub(crate) cut_at: Option<usize>,
    /// The body comes in pieces of so many bytes, with a pause before each.
    pub(crate) drip: Option<(usize, Duration)>,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            cut_at: None,
            drip: None,
        }
    }

    pub(crate) fn ok(body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            ..Self::new(200)
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

impl MiniRegistry {
    /// Listens on a free port of the loopback.
    pub(crate) async fn start() -> Self {
        Self::serve(None).await
    }

    /// The same, over TLS.
    pub(crate) async fn start_tls(tls: TlsAcceptor) -> Self {
        Self::serve(Some(tls)).await
    }

    async fn serve(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let registry = Self {
            host,
            shared: Arc::default(),
        };
        let shared = registry.shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve_connection(stream, shared).await,
                        // A client that does not trust us hangs up.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve_connection(stream, shared).await;
                            }
                        }
                    }
                });
            }
        });
        registry
    }

    /// Serves `body` at `/v2/<path>`.
    pub(crate) fn put(&self, path: &str, content_type: &str, body: impl Into<Bytes>) {
        let entry = (content_type.to_owned(), body.into());
        self.shared
            .content
            .lock()
            .unwrap()
            .insert(path.to_owned(), entry);
    }

    /// Asks `rule` first from now on; what it has no answer to is served as usual.
    pub(crate) fn rule(&self, rule: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static) {
        *self.shared.rule.lock().unwrap() = Some(Box::new(rule));
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many requests `which` picks.
    pub(crate) fn count(&self, which: impl Fn(&Seen) -> bool) -> usize {
        self.seen().iter().filter(|seen| which(seen)).count()
    }

    pub(crate) fn forget_seen(&self) {
        self.shared.seen.lock().unwrap().clear();
    }

    /// What it would answer without a rule.
    pub(crate) fn usual(&self, seen: &Seen) -> Reply {
        self.shared.usual(seen)
    }
}

impl Shared {
    fn usual(&self, seen: &Seen) -> Reply {
        let path = seen.path.split('?').next().unwrap_or_default();
        let content = self.content.lock().unwrap();
        let Some((content_type, body)) = content.get(path.trim_start_matches("/v2/")) else {
            let body = r#"{"errors":[{"code":"UNKNOWN","message":"nothing here"}]}"#;
            return Reply {
                status: 404,
                ..Reply::ok(body)
            };
        };
        let reply = Reply::ok(body.clone())
            .header("content-type", content_type)
            .header("docker-content-digest", Digest::of(body).to_string());
        let from = seen.range.as_deref().and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .trim_end_matches('-')
                .parse::<usize>()
                .ok()
        });
        match from {
            None => reply,
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
                let rest = body.slice(from..);
                Reply {
                    status: 206,
                    body: rest,
                    ..reply
                }
                .header("content-range", range)
            }
        }
    }
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    shared: Arc<Shared>,
) {
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer(request, &shared).await) }
    });
    // Connections that a test breaks on purpose end with an error.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

type Body = StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>;

async fn answer(request: Request<Incoming>, shared: &Shared) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let text = |name: &str| {
        parts
            .headers
            .get(name)
            .map(|v| v.to_str().unwrap().to_owned())
    };
    let body = body.collect().await.unwrap().to_bytes();
    let seen = Seen {
        method: parts.method.clone(),
        path: parts.uri.path_and_query().unwrap().to_string(),
        authorization: text("authorization"),
        range: text("range"),
        headers: parts.headers.clone(),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    shared.seen.lock().unwrap().push(seen.clone());
    let ruled = shared
        .rule
        .lock()
        .unwrap()
        .as_ref()
        .and_then(|rule| rule(&seen));
    let reply = ruled.unwrap_or_else(|| shared.usual(&seen));
    respond(reply, parts.method == Method::HEAD)
}

fn respond(reply: Reply, head: bool) -> Response<Body> {
    let mut response = Response::builder().status(reply.status);
    let has_length = reply
        .headers
        .iter()
        .any(|(name, _)| name == "content-length");
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    if !has_length {
        response = response.header("content-length", reply.body.len());
    }
    let mut pieces: Vec<io::Result<Bytes>> = Vec::new();
    let sent = reply.body.slice(
        ..reply
            .cut_at
            .unwrap_or(reply.body.len())
            .min(reply.body.len()),
    );
    let (size, pause) = reply.drip.unwrap_or((64 << 10, Duration::ZERO));
    pieces.extend(
        sent.chunks(size)
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk))),
    );
    if reply.cut_at.is_some() {
        pieces.push(Err(io::ErrorKind::ConnectionReset.into()));
    }
    if head {
        pieces.clear();
    }
    let body = stream::iter(pieces).then(move |piece| async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        // What was sent before a cut must leave before the connection does.
        if piece.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        piece.map(Frame::data)
    });
    response.body(StreamBody::new(body.boxed())).unwrap()
}
