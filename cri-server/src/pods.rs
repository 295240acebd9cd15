//! The table of pods, their names, and what each consists of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::RwLock;
use sandbox::{Sandbox, SandboxId};
use tokio::sync::{Mutex, OnceCell};
use tokio::task::JoinHandle;

pub use crate::pods::pod_name::PodKey;
pub use crate::pods::pod_state::{Denied, PodEvent, PodState};
pub use crate::pods::saved_pod::{Dns, SavedNetwork, SavedPod};

use crate::error::{Error, Kind, Result};
use crate::identifier;
use crate::kept::Kept;

mod pod_name;
mod pod_state;
mod saved_pod;

/// All pods that were made and not removed.
#[derive(Default)]
pub struct Pods {
    by_id: RwLock<BTreeMap<String, Arc<Pod>>>,
}

/// One pod.
pub struct Pod {
    /// Its id.
    pub id: SandboxId,
    /// What we know of it, as it is in the database.
    pub record: Kept<SavedPod>,
    /// What isolates it; empty where that was lost, by a reboot or because it died while we were away.
    pub sandbox: OnceCell<Arc<dyn Sandbox>>,
    /// Held by whoever stops or removes it.
    pub lifecycle: Mutex<()>,
    /// Its sandbox is being stopped. That goes on if nobody waits for it, so that it comes to its last means.
    pub stop: Mutex<Option<JoinHandle<sandbox::Result<()>>>>,
    /// Somebody is stopping it, so its end is no surprise.
    pub stopping: AtomicBool,
    /// Held shared while a container is made in it, exclusively while it is removed.
    pub residents: tokio::sync::RwLock<()>,
}

impl Pod {
    /// A pod whose record is in the database.
    pub fn new(record: Kept<SavedPod>, sandbox: Option<Arc<dyn Sandbox>>) -> Self {
        Self {
            id: record.get().id.clone(),
            record,
            sandbox: OnceCell::new_with(sandbox),
            lifecycle: Mutex::default(),
            stop: Mutex::default(),
            stopping: AtomicBool::new(false),
            residents: tokio::sync::RwLock::default(),
        }
    }

    /// Its sandbox, or why nothing can be done in it.
    pub fn sandbox(&self) -> Result<&Arc<dyn Sandbox>> {
        let record = self.record.get();
        match self.sandbox.get() {
            Some(sandbox) if record.state == PodState::Ready => Ok(sandbox),
            _ => Err(Error::new(
                Kind::WrongState,
                format!(
                    "pod {} ({}) is not ready{}{}; run a new one",
                    self.id,
                    record.key,
                    if record.reason.is_empty() { "" } else { ": " },
                    record.reason,
                ),
            )),
        }
    }
}

impl Pods {
    /// The pod that `id`, or a beginning of an id, names.
    pub fn find(&self, id: &str) -> Result<Option<Arc<Pod>>> {
        Ok(identifier::find(&self.by_id.read(), id)?.cloned())
    }

    /// The same, where it must exist.
    pub fn get(&self, id: &str) -> Result<Arc<Pod>> {
        self.find(id)?
            .ok_or_else(|| Error::new(Kind::NotFound, format!("there is no pod {id}")))
    }

    /// The pod of this name.
    pub fn named(&self, key: &PodKey) -> Option<Arc<Pod>> {
        let pods = self.by_id.read();
        pods.values()
            .find(|pod| pod.record.get().key == *key)
            .cloned()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Pod>> {
        self.by_id.read().values().cloned().collect()
    }

    /// From here on it is listed.
    pub fn insert(&self, pod: Arc<Pod>) {
        self.by_id.write().insert(pod.id.0.clone(), pod);
    }

    /// From here on it is not.
    pub fn remove(&self, id: &SandboxId) {
        self.by_id.write().remove(&id.0);
    }
}
