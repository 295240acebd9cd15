//! HTTP clients, one for each way of connecting, kept so that connections are used again.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Client;
use reqwest::redirect::Policy;

use super::hosts::{Host, is_loopback};
use super::tls::{TlsError, TlsSpec, client_config};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Enough for any node; rotated certificates must not pile up clients for ever.
const MAX_CLIENTS: usize = 64;

/// The clients made so far.
#[derive(Default)]
pub(super) struct Clients(Mutex<HashMap<Key, Client>>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    tls: TlsSpec,
    dial_timeout: Option<Duration>,
    loopback: bool,
}

/// A host's connection could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Its certificates can't be used.
    #[error("set up TLS for {host}")]
    Tls {
        /// The host.
        host: String,
        /// Why not.
        source: TlsError,
    },
    /// The HTTP client refuses.
    #[error("set up HTTP client for {host}")]
    Http {
        /// The host.
        host: String,
        /// Why.
        source: reqwest::Error,
    },
}

impl Clients {
    /// The client for `host`. Blocking where it is a new one: reads the node's certificates.
    pub(super) fn get(&self, host: &Host) -> Result<Client, ClientError> {
        let key = Key {
            tls: host.tls.clone(),
            dial_timeout: host.dial_timeout,
            loopback: is_loopback(host.base.authority()),
        };
        if let Some(client) = self.0.lock().get(&key) {
            return Ok(client.clone());
        }
        let client = build(host, &key)?;
        let mut clients = self.0.lock();
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }
}

fn build(host: &Host, key: &Key) -> Result<Client, ClientError> {
    let name = || host.name.clone();
    let tls = client_config(&key.tls).map_err(|source| ClientError::Tls {
        host: name(),
        source,
    })?;
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("bulkhead/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(key.dial_timeout.unwrap_or(CONNECT_TIMEOUT))
        // Followed by hand: only there is it known which headers may go along.
        .redirect(Policy::none())
        .referer(false)
        .http1_only();
    if key.loopback {
        // A proxy can't reach our loopback.
        builder = builder.no_proxy();
    }
    builder.build().map_err(|source| ClientError::Http {
        host: name(),
        source,
    })
}
