//! The table of containers, their names, and what each consists of.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use sandbox::{Container as Workload, ContainerId, SandboxId};
use tokio::sync::{Mutex, OnceCell};

pub use crate::containers::container_state::{ContainerEvent, ContainerState, Denied};
pub use crate::containers::saved_container::{
    ImageMount, SavedContainer, SavedExit, SavedImage, SavedMount, SavedUser,
};

use crate::error::{Error, Kind, Result};
use crate::identifier;
use crate::kept::Kept;

mod container_state;
mod saved_container;

/// All containers that were made and not removed.
#[derive(Default)]
pub struct Containers {
    by_id: RwLock<BTreeMap<String, Arc<Container>>>,
}

/// One container.
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// The pod it is in.
    pub pod: SandboxId,
    /// What we know of it, as it is in the database.
    pub record: Kept<SavedContainer>,
    /// What runs; empty where its sandbox is lost.
    pub workload: OnceCell<Arc<dyn Workload>>,
    /// Held by whoever starts or removes it.
    pub lifecycle: Mutex<()>,
    /// Why it could not be started: that is its end, not that it was killed for it.
    pub start_error: OnceLock<SavedExit>,
    /// It has had its stop signal. A second one makes some programs end without tidying up.
    pub asked_to_stop: AtomicBool,
}

impl Container {
    /// A container whose record is in the database.
    pub fn new(record: Kept<SavedContainer>, workload: Option<Arc<dyn Workload>>) -> Self {
        let saved = record.get();
        Self {
            id: saved.id.clone(),
            pod: saved.pod.clone(),
            record,
            workload: OnceCell::new_with(workload),
            lifecycle: Mutex::default(),
            start_error: OnceLock::new(),
            asked_to_stop: AtomicBool::new(false),
        }
    }

    /// What runs, or why there is nothing.
    pub fn workload(&self) -> Result<&Arc<dyn Workload>> {
        self.workload.get().ok_or_else(|| {
            Error::new(
                Kind::WrongState,
                format!(
                    "the pod of container {} is gone; only its status is left",
                    self.id
                ),
            )
        })
    }

    /// The same, where it must be running.
    pub fn running(&self) -> Result<&Arc<dyn Workload>> {
        let state = self.record.get().state;
        if state != ContainerState::Running {
            let message = format!("container {} is not running: it is {state}", self.id);
            return Err(Error::new(Kind::WrongState, message));
        }
        self.workload()
    }
}

/// Name of a container. Two containers of a pod never have the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerKey {
    /// The pod.
    pub pod: SandboxId,
    /// Its name in the pod.
    pub name: String,
    /// Which run of it this is.
    pub attempt: u32,
}

impl fmt::Display for ContainerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pod, name, attempt } = self;
        write!(f, "container {name} (attempt {attempt}) of pod {pod}")
    }
}

impl Containers {
    /// The container that `id`, or a beginning of an id, names.
    pub fn find(&self, id: &str) -> Result<Option<Arc<Container>>> {
        Ok(identifier::find(&self.by_id.read(), id)?.cloned())
    }

    /// The same, where it must exist.
    pub fn get(&self, id: &str) -> Result<Arc<Container>> {
        self.find(id)?
            .ok_or_else(|| Error::new(Kind::NotFound, format!("there is no container {id}")))
    }

    /// The container of this name.
    pub fn named(&self, key: &ContainerKey) -> Option<Arc<Container>> {
        let containers = self.by_id.read();
        let found = containers
            .values()
            .find(|container| container.record.get().key() == *key);
        found.cloned()
    }

    /// Those of a pod.
    pub fn of(&self, pod: &SandboxId) -> Vec<Arc<Container>> {
        let containers = self.by_id.read();
        containers
            .values()
            .filter(|container| container.pod == *pod)
            .cloned()
            .collect()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Container>> {
        self.by_id.read().values().cloned().collect()
    }

    /// From here on it is listed.
    pub fn insert(&self, container: Arc<Container>) {
        self.by_id.write().insert(container.id.0.clone(), container);
    }

    /// From here on it is not.
    pub fn remove(&self, id: &ContainerId) {
        self.by_id.write().remove(&id.0);
    }
}
