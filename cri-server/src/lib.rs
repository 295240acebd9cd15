//! The CRI server of Bulkhead: [`CriServer`], what it owns, and how it starts.
//!
//! Start: configuration, lock, database, handlers, images, then `readopt` takes back what outlived
//! the last server, and only then the socket is listened on. Stop: the socket closes, calls under way
//! are answered, pods stay as they are.

use std::path::PathBuf;
use std::sync::Arc;

use cri_streaming::StreamingServer;
use image_service::Images;
use sandbox::{ContainerId, SandboxId};
use tokio::sync::OnceCell;

mod apparmor;
pub mod cli;
pub mod clock;
pub mod config;
pub mod container_spec;
pub mod containers;
mod disk_usage;
pub mod error;
mod events;
mod grpc_status;
pub mod handlers;
mod host;
mod identifier;
mod image;
pub mod in_flight;
pub mod instance_lock;
mod instrument;
pub mod kept;
pub mod logging;
pub mod metrics;
pub mod network;
pub mod pods;
mod readopt;
pub mod resources;
mod rollback;
mod runtime;
pub mod sandbox_spec;
mod seccomp_filters;
pub mod server;
pub mod state;
mod streaming;
mod watch;

use config::Config;
use containers::{ContainerKey, Containers};
use disk_usage::LastUsage;
use error::{Error, Kind, Result};
use events::Events;
use handlers::Handlers;
use in_flight::InFlight;
use metrics::Metrics;
use network::Network;
use pods::{PodKey, Pods};
use seccomp_filters::SeccompFilters;
use state::State;

/// The CRI server: everything that its calls work on.
pub struct CriServer {
    pub(crate) config: Config,
    pub(crate) handlers: Handlers,
    pub(crate) images: Images,
    pub(crate) metrics: Metrics,
    pub(crate) network: Network,
    pub(crate) state: State,
    /// Who serves exec, attach and port-forward; set once everything is taken back.
    pub(crate) streaming: OnceCell<StreamingServer>,
    pub(crate) pods: Pods,
    pub(crate) containers: Containers,
    pub(crate) events: Events,
    pub(crate) seccomp: SeccompFilters,
    pub(crate) written: LastUsage,
    pub(crate) pod_calls: Arc<InFlight<PodKey, SandboxId>>,
    pub(crate) container_calls: Arc<InFlight<ContainerKey, ContainerId>>,
}

/// What a server is made of.
pub struct Parts {
    /// What the operator wants.
    pub config: Config,
    /// Who makes sandboxes.
    pub handlers: Handlers,
    /// Images of this node.
    pub images: Images,
    /// Who connects pods.
    pub network: Network,
    /// The database.
    pub state: State,
}

impl CriServer {
    /// A server that knows again what outlived the last one.
    pub async fn start(parts: Parts) -> Result<Arc<Self>> {
        let Parts {
            config,
            handlers,
            images,
            network,
            state,
        } = parts;
        let server = Arc::new(Self {
            config,
            handlers,
            images,
            metrics: Metrics::default(),
            network,
            state,
            streaming: OnceCell::new(),
            pods: Pods::default(),
            containers: Containers::default(),
            events: Events::default(),
            seccomp: SeccompFilters::default(),
            written: LastUsage::default(),
            pod_calls: Arc::default(),
            container_calls: Arc::default(),
        });
        readopt::readopt(&server).await?;
        streaming::open(&server).await?;
        let metrics = metrics::open(&server).await;
        metrics.map_err(|error| Error::caused(Kind::Internal, "serve metrics", error))?;
        Ok(server)
    }

    /// Directory of a sandbox for its life, on tmpfs.
    pub(crate) fn pod_dir(&self, id: &SandboxId) -> PathBuf {
        self.config.runtime_dir.join("pods").join(&id.0)
    }

    /// Directory for what a container writes.
    pub(crate) fn container_dir(&self, id: &ContainerId) -> PathBuf {
        self.config.state_dir.join("containers").join(&id.0)
    }
}
