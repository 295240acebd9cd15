//! Talking to registries: the OCI distribution protocol, the reading half of it.

mod authorize;
mod blob;
mod body;
mod challenge;
mod client;
mod credential;
mod failure;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod hosts;
mod hosts_toml;
mod request;
mod resolve;
mod rounds;
mod timing;
mod tls;
mod token;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use blob::{BlobSpec, BlobStream, Piece};
pub use client::ClientError;
pub use credential::CredentialError;
pub use failure::Attempts;
pub use hosts::HostsError;
pub(crate) use resolve::{Document, MAX_MANIFEST_BYTES};
pub use tls::TlsError;

use crate::auth::Auth;
use crate::config::Config;
use crate::reference::Reference;
use credential::Credential;
use hosts::Host;
use rounds::Rounds;
use timing::Timing;

/// What all conversations with registries share.
pub(crate) struct Registry {
    hosts_dirs: Vec<PathBuf>,
    timing: Timing,
    clients: client::Clients,
    tokens: token::Tokens,
}

/// One pull's conversation with the hosts of one registry.
pub(crate) struct Session {
    registry: Arc<Registry>,
    pub(crate) reference: Reference,
    endpoints: Vec<Endpoint>,
    credential: Credential,
    scope: String,
}

/// A host and the connection to it.
struct Endpoint {
    host: Host,
    client: reqwest::Client,
}

/// A conversation could not even begin.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The credentials have no usable form.
    #[error("read the credentials of the call")]
    Credential(#[from] CredentialError),
    /// The operator's `hosts.toml` is wrong.
    #[error("read the registry's hosts.toml")]
    Hosts(#[from] HostsError),
    /// A host's certificates are wrong.
    #[error("prepare the connection")]
    Client(#[from] ClientError),
}

impl Registry {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            hosts_dirs: config.hosts_dirs.clone(),
            timing: Timing {
                stall_timeout: config.stall_timeout(),
                stall_min_bytes: config.stall_min_bytes,
                retries: config.retries,
                first_pause: Duration::from_millis(500),
            },
            clients: client::Clients::default(),
            tokens: token::Tokens::default(),
        }
    }

    /// Begins a conversation about `reference`. Blocking: reads configuration and certificates.
    pub(crate) fn session(
        self: &Arc<Self>,
        reference: Reference,
        auth: Option<&Auth>,
    ) -> Result<Session, SessionError> {
        let credential = Credential::of(auth, &reference.registry)?;
        let hosts = hosts::hosts_of(&reference.registry, &self.hosts_dirs)?;
        let endpoint = |host: Host| {
            let client = self.clients.get(&host)?;
            Ok::<_, ClientError>(Endpoint { host, client })
        };
        Ok(Session {
            registry: self.clone(),
            endpoints: hosts.into_iter().map(endpoint).collect::<Result<_, _>>()?,
            credential,
            scope: format!("repository:{}:pull", reference.repository),
            reference,
        })
    }
}

impl Session {
    fn eligible(&self, may: impl Fn(&Host) -> bool) -> Vec<usize> {
        let indexed = self.endpoints.iter().enumerate();
        indexed
            .filter(|(_, endpoint)| may(&endpoint.host))
            .map(|(index, _)| index)
            .collect()
    }

    fn rounds(&self, may: impl Fn(&Host) -> bool) -> Rounds {
        Rounds::new(&self.registry.timing, self.eligible(may))
    }
}
