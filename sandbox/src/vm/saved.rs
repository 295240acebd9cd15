//! What is remembered of a machine across a restart of the server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Config;
use super::container::Record;
use super::control::{Control, Events};
use super::launch::{Launched, address};
use super::plan::Places;
use crate::agent::{Agent, Pids};
use crate::cgroup::{Parent, PodCgroup};
use crate::sizing::Size;
use crate::supervisor::{self, Supervisor};
use crate::{Error, Kind, Resources, Result, SandboxId, SavedSandbox};

/// The shape of [`Saved`].
const VERSION: u32 = 1;

/// What is remembered of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    supervisor: supervisor::Saved,
    cgroup: String,
    parent: Parent,
    state_dir: PathBuf,
    overhead: Resources,
    size: Size,
    /// Empty where it was saved by a build that gave machines no network.
    #[serde(default)]
    network: String,
    uid: u32,
}

impl Saved {
    pub(super) fn of(launched: &Launched) -> Self {
        Self {
            supervisor: launched.supervisor.saved().clone(),
            cgroup: launched.cgroup.path().to_owned(),
            parent: launched.cgroup.parent(),
            state_dir: launched.state_dir.clone(),
            overhead: launched.overhead.clone(),
            size: launched.size.clone(),
            network: launched.network.clone(),
            uid: launched.uid,
        }
    }

    pub(super) fn write(&self, id: &SandboxId) -> SavedSandbox {
        SavedSandbox {
            id: id.clone(),
            version: VERSION,
            content: serde_json::to_string(self)
                .expect("it holds nothing that JSON has no words for"),
        }
    }

    pub(super) fn read(saved: &SavedSandbox) -> Result<Self> {
        let reading = || format!("read what was saved of sandbox {}", saved.id);
        if saved.version != VERSION {
            let doing = format!("{}: version {} is unknown", reading(), saved.version);
            return Err(Error::new(Kind::Internal, doing));
        }
        serde_json::from_str(&saved.content)
            .map_err(|e| Error::caused(Kind::Internal, reading(), e))
    }

    /// Connects to VMM and agent again; `None` means that the machine ended meanwhile.
    pub(super) async fn find(
        self,
        id: &SandboxId,
        config: &Config,
    ) -> Result<Option<(Launched, Events)>> {
        let Some(supervisor) = Supervisor::adopt(&self.supervisor)? else {
            return Ok(None);
        };
        let places = Places::below(&self.state_dir);
        let control = Arc::new(Control::at(places.control.clone()));
        let events = control.subscribe().await?;
        let limit = Duration::from_secs(config.boot_timeout_s);
        let ours = |id: &_| Record::kept(&places.containers, id).map(|record| record.ours());
        let agent = Agent::reconnect(&address(&places), limit, Pids::OfGuest, ours).await?;
        let launched = Launched {
            id: id.clone(),
            cgroup: PodCgroup::saved(self.cgroup, self.parent),
            places,
            state_dir: self.state_dir,
            overhead: self.overhead,
            size: self.size,
            network: self.network,
            network_setup: None,
            uid: self.uid,
            supervisor,
            control,
            agent,
        };
        Ok(Some((launched, events)))
    }
}
