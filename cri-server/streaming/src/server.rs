//! The streaming server: hands out URLs, and serves who comes with them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cri_api::v1::{
    AttachRequest, AttachResponse, ExecRequest, ExecResponse, PortForwardRequest,
    PortForwardResponse,
};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::info;

use crate::config::Config;
use crate::counters::{Counters, Counts, add};
use crate::executor::Executor;
use crate::limits::Limits;
use crate::listen;
use crate::request::{Request, RequestError};
use crate::tls::{self, TlsError};
use crate::tokens::Tokens;

/// The streaming server. Dropping it ends every session.
#[derive(Debug)]
pub struct StreamingServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// `http://127.0.0.1:4711`.
    base: String,
    listening: JoinHandle<()>,
}

/// What all connections use.
pub(crate) struct Shared {
    pub(crate) executor: Arc<dyn Executor>,
    pub(crate) tokens: Tokens,
    pub(crate) limits: Limits,
    pub(crate) sessions: Arc<Semaphore>,
    pub(crate) counters: Counters,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("limits", &self.limits)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// A server that can't be started.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is taken, or not ours.
    #[error("listen on {address}")]
    Listen {
        /// Where to listen.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The certificate can't be used.
    #[error("set up TLS for streaming")]
    Tls(#[from] TlsError),
}

impl StreamingServer {
    /// Listens as `config` says, and serves with `executor`.
    pub async fn open(config: Config, executor: Arc<dyn Executor>) -> Result<Self, OpenError> {
        let limits = Limits::new(&config);
        Self::open_with(config, limits, executor).await
    }

    async fn open_with(
        config: Config,
        limits: Limits,
        executor: Arc<dyn Executor>,
    ) -> Result<Self, OpenError> {
        let acceptor = tls::acceptor(&config)?;
        let listening = |source| OpenError::Listen {
            address: config.address,
            source,
        };
        let listener = TcpListener::bind(config.address).await.map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        let base = base_url(&config, address);
        info!(%address, url = base, "streaming server listens");
        let shared = Arc::new(Shared {
            executor,
            tokens: Tokens::new(
                Duration::from_secs(config.token_timeout_s),
                config.max_tokens,
            ),
            limits,
            sessions: Arc::new(Semaphore::new(config.max_sessions)),
            counters: Counters::default(),
        });
        let listening = tokio::spawn(listen::run(listener, acceptor, shared.clone()));
        Ok(Self {
            shared,
            address,
            base,
            listening,
        })
    }

    /// A URL for running a command. The caller has made sure that the container runs.
    pub fn exec(&self, request: ExecRequest) -> Result<ExecResponse, RequestError> {
        let url = self.url(Request::Exec(request))?;
        Ok(ExecResponse { url })
    }

    /// A URL for joining a container. The caller has made sure that the container runs.
    pub fn attach(&self, request: AttachRequest) -> Result<AttachResponse, RequestError> {
        let url = self.url(Request::Attach(request))?;
        Ok(AttachResponse { url })
    }

    /// A URL for forwarding ports. The caller has made sure that the sandbox is ready.
    pub fn port_forward(
        &self,
        request: PortForwardRequest,
    ) -> Result<PortForwardResponse, RequestError> {
        let url = self.url(Request::PortForward(request))?;
        Ok(PortForwardResponse { url })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.shared.counters.read()
    }

    /// Stops listening and ends every session; returns when all of them are over.
    pub async fn finish(mut self) {
        self.listening.abort();
        // It was cancelled, as we wanted.
        let _ = (&mut self.listening).await;
    }

    fn url(&self, request: Request) -> Result<String, RequestError> {
        request.validate()?;
        let kind = request.kind().path();
        let token = self.shared.tokens.issue(request, Instant::now())?;
        add(&self.shared.counters.urls, 1);
        Ok(format!("{}/{kind}/{token}", self.base))
    }
}

impl Drop for StreamingServer {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn base_url(config: &Config, address: SocketAddr) -> String {
    let scheme = if config.tls() { "https" } else { "http" };
    let host = config.advertised_host.as_str();
    if host.is_empty() {
        return format!("{scheme}://{address}");
    }
    let port = address.port();
    if host.contains(':') && !host.starts_with('[') {
        return format!("{scheme}://[{host}]:{port}");
    }
    format!("{scheme}://{host}:{port}")
}

#[cfg(test)]
mod tests;
