//! What is known of a pod after a restart.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sandbox::{Resources, SandboxId, SavedSandbox};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::pods::{PodEvent, PodKey, PodState};
use crate::state::Saved;

/// A pod, as it is in the database.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedPod {
    /// Its id.
    pub id: SandboxId,
    /// Its name.
    pub key: PodKey,
    /// Where it is in its life.
    pub state: PodState,
    /// Why it is not ready; empty if it was stopped as asked.
    pub reason: String,
    /// What it was made from, to tell a retry from a clash of names.
    pub fingerprint: String,
    /// Runtime handler as it was asked for.
    pub handler: String,
    /// ns since 1970.
    pub created_at_ns: i64,
    /// Of the kubelet.
    pub labels: BTreeMap<String, String>,
    /// Of the kubelet.
    pub annotations: BTreeMap<String, String>,
    /// Where its containers' logs go; empty means that they have none.
    pub log_directory: String,
    /// As its containers see it.
    pub hostname: String,
    /// Its name servers; `None` means those of the node.
    pub dns: Option<Dns>,
    /// What it shares with the node.
    pub host_pid: bool,
    /// What it shares with the node.
    pub host_ipc: bool,
    /// Its containers share a PID namespace.
    pub shared_pid: bool,
    /// Its containers may be privileged.
    pub privileged: bool,
    /// Its network.
    pub network: SavedNetwork,
    /// Sum of what its containers ask for.
    pub resources: Resources,
    /// What it costs beside them.
    pub overhead: Resources,
    /// What its sandbox is taken back by.
    pub sandbox: Option<SavedSandbox>,
}

/// The network of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedNetwork {
    /// Its namespace; `None` means that of the node.
    pub namespace: Option<PathBuf>,
    /// Its addresses, the main one first.
    pub ips: Vec<String>,
}

/// Name servers of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Addresses.
    pub servers: Vec<String>,
    /// Domains to look names up in.
    pub searches: Vec<String>,
    /// Options of resolv.conf(5).
    pub options: Vec<String>,
}

impl SavedPod {
    /// Moves on in its life.
    pub fn apply(&mut self, event: PodEvent) -> Result<()> {
        self.state = self
            .state
            .apply(event)
            .map_err(|denied| Error::caused(Kind::WrongState, self.key.to_string(), denied))?;
        Ok(())
    }
}

impl Saved for SavedPod {
    const KIND: &'static str = "pod";
    const VERSION: u32 = 1;

    fn id(&self) -> &str {
        &self.id.0
    }
}
