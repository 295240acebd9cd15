//! What is known of a container after a restart.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sandbox::{ContainerId, Resources, SandboxId};
use serde::{Deserialize, Serialize};

use crate::containers::{ContainerEvent, ContainerKey, ContainerState};
use crate::error::{Error, Kind, Result};
use crate::state::Saved;

/// A container, as it is in the database.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedContainer {
    /// Its id.
    pub id: ContainerId,
    /// The pod it is in.
    pub pod: SandboxId,
    /// Its name in the pod.
    pub name: String,
    /// Which run of it this is.
    pub attempt: u32,
    /// Where it is in its life.
    pub state: ContainerState,
    /// What it was made from, to tell a retry from a clash of names.
    pub fingerprint: String,
    /// ns since 1970.
    pub created_at_ns: i64,
    /// ns since 1970; 0 before it was started.
    pub started_at_ns: i64,
    /// How it ended.
    pub exit: Option<SavedExit>,
    /// Its image.
    pub image: SavedImage,
    /// Of the kubelet.
    pub labels: BTreeMap<String, String>,
    /// Of the kubelet.
    pub annotations: BTreeMap<String, String>,
    /// Mounts that were asked for, and only those.
    pub mounts: Vec<SavedMount>,
    /// Its log; `None` means that it has none.
    pub log_path: Option<PathBuf>,
    /// Its limits now.
    pub resources: Resources,
    /// Number of the signal that asks it to end.
    pub stop_signal: u32,
    /// Who its first process runs as, once that is known.
    pub user: Option<SavedUser>,
    /// It has a terminal.
    pub terminal: bool,
    /// It has a stdin.
    pub stdin: bool,
}

/// An image, as listings of containers show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedImage {
    /// As whoever made the container named it.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Name and digest where it has some, else its id.
    pub reference: String,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedExit {
    /// 0 to 255.
    pub code: u8,
    /// One word: `Completed`, `Error`, `OOMKilled`.
    pub reason: String,
    /// A sentence where the code does not say it.
    pub message: String,
    /// ns since 1970.
    pub finished_at_ns: i64,
}

/// A mount that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedMount {
    /// In the container.
    pub container_path: String,
    /// On the node, as it was asked for.
    pub host_path: String,
    /// Nothing may be written through it.
    pub readonly: bool,
    /// Nor through what is mounted below it.
    pub recursive_read_only: bool,
    /// SELinux labels were to be changed.
    pub selinux_relabel: bool,
    /// Whether mounts made later cross over, as CRI numbers it.
    pub propagation: i32,
    /// For image volumes.
    pub image: Option<ImageMount>,
}

/// An image that is mounted into a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageMount {
    /// As it was asked for.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Path inside it.
    pub sub_path: String,
}

/// Who a process runs as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedUser {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// All its groups.
    pub groups: Vec<u32>,
}

impl SavedContainer {
    /// Its name.
    pub fn key(&self) -> ContainerKey {
        ContainerKey {
            pod: self.pod.clone(),
            name: self.name.clone(),
            attempt: self.attempt,
        }
    }

    /// Moves on in its life.
    pub fn apply(&mut self, event: ContainerEvent) -> Result<()> {
        self.state = self.state.apply(event).map_err(|denied| {
            Error::caused(Kind::WrongState, format!("container {}", self.id), denied)
        })?;
        Ok(())
    }

    /// Notes how it ended. The first account stands.
    pub fn end(&mut self, exit: SavedExit) {
        if self.apply(ContainerEvent::Ended).is_ok() && self.exit.is_none() {
            self.exit = Some(exit);
        }
    }
}

impl Saved for SavedContainer {
    const KIND: &'static str = "container";
    const VERSION: u32 = 1;

    fn id(&self) -> &str {
        &self.id.0
    }
}
