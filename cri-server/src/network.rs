//! The network of a pod: its namespace is made, connected by the node's plugins, and released.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cni::{Attachment, Cni, Command, CommandStats, Readiness};
use parking_lot::Mutex;
use rustix::mount::UnmountFlags;
use sandbox::SandboxId;
use tracing::{info, warn};

use crate::error::chain;
use crate::pods::{SavedNetwork, SavedPod};

pub use config::{CniConfig, Config, Mode};
pub use error::NetworkError;
pub(crate) use traffic::traffic;
pub use wishes::Wishes;

mod config;
mod error;
mod namespace;
mod traffic;
mod wishes;

/// Makes and releases the networks of pods.
#[derive(Clone, Debug)]
pub struct Network {
    config: Config,
    /// The node's plugins; none in mode `loopback`.
    cni: Option<Cni>,
    /// Pods that have a network, or are about to: what others have is garbage.
    pods: Arc<Mutex<BTreeSet<SandboxId>>>,
}

/// Namespaces of ours begin like this; others in the same directory are none of our business.
const PREFIX: &str = "bulkhead-";

impl Network {
    /// Prepares this node for networks of pods. There need not be a network yet.
    pub async fn open(config: Config) -> Result<Self, NetworkError> {
        let path = &config.namespace_dir;
        std::fs::create_dir_all(path).map_err(|source| NetworkError::Directory {
            path: path.clone(),
            source,
        })?;
        let cni = match config.mode {
            Mode::Cni => Some(Cni::open(config.cni.words()).await?),
            Mode::Loopback => None,
        };
        Ok(Self {
            config,
            cni,
            pods: Arc::default(),
        })
    }

    /// Whether pods can be connected. Runs nothing and waits for nothing.
    pub fn readiness(&self) -> NetworkReadiness {
        let Some(cni) = &self.cni else {
            return NetworkReadiness {
                ready: true,
                reason: "LoopbackOnly",
                message:
                    "network.mode is \"loopback\": pods have a loopback interface and no other"
                        .to_owned(),
            };
        };
        let readiness = cni.readiness();
        NetworkReadiness {
            ready: readiness.is_ready(),
            reason: match readiness {
                Readiness::Ready { .. } => "",
                // The word that the kubelet and its users know.
                Readiness::NotReady { .. } => "NetworkPluginNotReady",
            },
            message: readiness.to_string(),
        }
    }

    /// Where the namespace of this pod is, or will be.
    pub fn namespace_of(&self, id: &SandboxId) -> PathBuf {
        self.config.namespace_dir.join(format!("{PREFIX}{id}"))
    }

    /// Makes the namespace of a pod, with its loopback interface up.
    pub async fn create(&self, id: &SandboxId) -> Result<PathBuf, NetworkError> {
        self.pods.lock().insert(id.clone());
        let path = self.namespace_of(id);
        namespace::create(path.clone()).await?;
        Ok(path)
    }

    /// Connects a pod's namespace.
    pub async fn connect(
        &self,
        pod: &SavedPod,
        namespace: &Path,
        wishes: &Wishes,
    ) -> Result<Connected, NetworkError> {
        let Some(cni) = &self.cni else {
            return Ok(Connected::default());
        };
        let namespace = namespace.to_string_lossy();
        let attachment = wishes
            .attachment(pod, &namespace)
            .map_err(cni::Error::from)?;
        let added = cni.add(attachment).await?;
        let ips = added.result.ips_of(wishes::INTERFACE);
        Ok(Connected {
            ips: ips.map(|ip| ip.to_string()).collect(),
            others: added.waited + added.plugins,
        })
    }

    /// Gives back what a pod had. Idempotent; a pod in the node's network had nothing.
    pub async fn release(
        &self,
        id: &SandboxId,
        network: &SavedNetwork,
    ) -> Result<(), NetworkError> {
        let Some(namespace) = &network.namespace else {
            return Ok(());
        };
        if let Some(cni) = &self.cni {
            cni.del(attachment(id, namespace)?).await?;
        }
        release(namespace)?;
        self.pods.lock().remove(id);
        Ok(())
    }

    /// Gives back what a pod had that was never made: nobody asks again, so what plugins can't undo
    /// now is tried again in the background. The namespace goes in any case; DEL works without it.
    pub async fn abandon(
        &self,
        id: &SandboxId,
        network: &SavedNetwork,
    ) -> Result<(), NetworkError> {
        let Some(namespace) = &network.namespace else {
            return Ok(());
        };
        // From here on the plugins' collection may have it.
        self.pods.lock().remove(id);
        let detached = match &self.cni {
            Some(cni) => cni.abandon(attachment(id, namespace)?).await,
            None => Ok(()),
        };
        release(namespace)?;
        Ok(detached?)
    }

    /// What plugins did so far.
    pub(crate) fn plugin_stats(&self) -> Vec<(Command, CommandStats)> {
        self.cni.as_ref().map(Cni::stats).unwrap_or_default()
    }

    /// Tells plugins that have to know it the pod CIDR of this node.
    pub async fn set_pod_cidr(&self, cidrs: &str) -> Result<(), NetworkError> {
        if let Some(cni) = &self.cni {
            let outcome = cni.set_pod_cidr(cidrs).await?;
            info!(cidrs, ?outcome, "kubelet told the pod CIDR");
        }
        Ok(())
    }

    /// Releases all that is ours but what the pods in `keep` have: namespaces now, attachments in
    /// the background, because plugins may take long.
    pub fn sweep(&self, keep: &BTreeSet<SandboxId>) {
        *self.pods.lock() = keep.clone();
        self.sweep_namespaces(keep);
        if let Some(cni) = &self.cni {
            tokio::spawn(collect(cni.clone(), self.pods.clone()));
        }
    }

    fn sweep_namespaces(&self, keep: &BTreeSet<SandboxId>) {
        let entries = std::fs::read_dir(&self.config.namespace_dir)
            .into_iter()
            .flatten();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let ours = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            let Some(id) = ours.map(|id| SandboxId(id.to_string())) else {
                continue;
            };
            if keep.contains(&id) {
                continue;
            }
            match release(&entry.path()) {
                Ok(()) => info!(pod = %id, "network namespace without a pod is released"),
                Err(error) => warn!(pod = %id, error = chain(&error), "network namespace stays"),
            }
        }
    }
}

/// Undoes attachments of pods that are gone: what a crash left at once, and once more when the
/// network is there, so that plugins do the same with what they keep.
async fn collect(cni: Cni, pods: Arc<Mutex<BTreeSet<SandboxId>>>) {
    for wait in [false, true] {
        if wait {
            cni.ready().await;
        }
        let pods = pods.clone();
        let valid = move || pods.lock().iter().flat_map(wishes::id).collect();
        match cni.gc(valid).await {
            Ok(report) if report.undone.is_empty() && report.left.is_empty() => {}
            Ok(report) => info!(
                undone = report.undone.len(),
                left = report.left.len(),
                "network attachments without a pod"
            ),
            Err(error) => warn!(
                error = chain(&error),
                "network attachments are not collected"
            ),
        }
    }
}

/// A pod that is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connected {
    /// Its addresses, the main one first.
    pub ips: Vec<String>,
    /// How long plugins ran for it, and others before it was its turn.
    pub others: Duration,
}

/// Whether pods can be connected, as `Status` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkReadiness {
    /// They can.
    pub ready: bool,
    /// One word for programs; may be empty.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// A pod's attachment, for undoing it.
fn attachment(id: &SandboxId, namespace: &Path) -> Result<Attachment, NetworkError> {
    let id = wishes::id(id).map_err(cni::Error::from)?;
    Ok(Attachment::new(id, namespace))
}

fn release(path: &Path) -> Result<(), NetworkError> {
    let failed = |source: std::io::Error| NetworkError::Release {
        path: path.to_path_buf(),
        source,
    };
    match rustix::mount::unmount(path, UnmountFlags::DETACH) {
        // INVAL: not mounted, as after a reboot or half-way through.
        Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => {}
        Err(errno) => return Err(failed(errno.into())),
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}
