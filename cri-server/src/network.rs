//! The network of a pod: its namespace is made, configured, and released.
//!
//! Without a network plugin a pod's namespace has a loopback interface and nothing else.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::mount::UnmountFlags;
use sandbox::{Kind, SandboxId};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::error::chain;
use crate::pods::SavedNetwork;

mod loopback;
mod namespace;

/// What an operator may set for pods' networks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who connects pods.
    pub mode: Mode,
    /// Directory where the network namespaces of pods can be found by name, as `ip netns` does.
    pub namespace_dir: PathBuf,
}

/// Who connects pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nobody: each pod has a namespace with a loopback interface only.
    Loopback,
}

impl Config {
    /// All that is wrong with it, one sentence each.
    pub fn validate(&self) -> Vec<String> {
        let dir = &self.namespace_dir;
        let mistake = format!("network: namespace_dir = {dir:?} is not an absolute path");
        if dir.is_absolute() {
            Vec::new()
        } else {
            vec![mistake]
        }
    }
}

/// A pod's network could not be made or released.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The directory of namespaces is not usable.
    #[error("make {path}, where network namespaces go")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The namespace could not be made.
    #[error("{doing} for network namespace {path}")]
    Create {
        /// Which step.
        doing: &'static str,
        /// Where it was to be.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The namespace could not be given back.
    #[error("release network namespace {path}")]
    Release {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl NetworkError {
    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        Kind::Internal
    }
}

/// Makes and releases the networks of pods.
#[derive(Clone, Debug)]
pub struct Network {
    config: Config,
}

/// Namespaces of ours begin like this; others in the same directory are none of our business.
const PREFIX: &str = "bulkhead-";

impl Network {
    /// Prepares this node for networks of pods.
    pub fn open(config: Config) -> Result<Self, NetworkError> {
        let path = &config.namespace_dir;
        std::fs::create_dir_all(path).map_err(|source| NetworkError::Directory {
            path: path.clone(),
            source,
        })?;
        Ok(Self { config })
    }

    /// Whether pods can be connected, in words.
    pub fn explain(&self) -> &'static str {
        match self.config.mode {
            Mode::Loopback => {
                "network.mode is \"loopback\": pods have a loopback interface and no other"
            }
        }
    }

    /// Where the namespace of this pod is, or will be.
    pub fn namespace_of(&self, id: &SandboxId) -> PathBuf {
        self.config.namespace_dir.join(format!("{PREFIX}{id}"))
    }

    /// Makes the namespace of a pod, with its loopback interface up.
    pub async fn create(&self, id: &SandboxId) -> Result<PathBuf, NetworkError> {
        let path = self.namespace_of(id);
        namespace::create(path.clone()).await?;
        Ok(path)
    }

    /// Connects a namespace, and tells its addresses.
    pub async fn configure(&self, _namespace: &Path) -> Result<Vec<String>, NetworkError> {
        match self.config.mode {
            Mode::Loopback => Ok(Vec::new()),
        }
    }

    /// Gives back what a pod had. Idempotent; a pod in the node's network had nothing.
    pub async fn release(&self, network: &SavedNetwork) -> Result<(), NetworkError> {
        match &network.namespace {
            Some(path) => release(path),
            None => Ok(()),
        }
    }

    /// Releases all namespaces of ours but those of the pods in `keep`.
    pub fn sweep(&self, keep: &BTreeSet<SandboxId>) {
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
