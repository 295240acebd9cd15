//! What is remembered of a sandbox across a restart of the server.

use std::path::PathBuf;
use std::time::Duration;

use agent_api::client::Address;
use serde::{Deserialize, Serialize};

use super::Config;
use super::launch::{Launched, Places};
use crate::agent::{Agent, Ours, Pids};
use crate::cgroup::{Parent, PodCgroup};
use crate::supervisor::{self, Supervisor};
use crate::{Error, Kind, Resources, Result, SandboxId, SavedSandbox};

/// The shape of [`Saved`].
const VERSION: u32 = 1;

/// What is remembered of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) supervisor: supervisor::Saved,
    pub(super) cgroup: String,
    pub(super) parent: Parent,
    pub(super) state_dir: PathBuf,
    pub(super) overhead: Resources,
}

impl Saved {
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

    /// Connects to the agent again.
    pub(super) async fn find(self, id: &SandboxId, config: &Config) -> Result<Found> {
        let places = Places::below(&self.state_dir);
        let Some(supervisor) = Supervisor::adopt(&self.supervisor)? else {
            return Ok(Found::Ended(places));
        };
        let limit = Duration::from_secs(config.start_timeout_s);
        let address = Address::Unix(places.socket.clone());
        let agent =
            Agent::reconnect(&address, limit, Pids::OfNode, |_| Some(Ours::default())).await?;
        Ok(Found::Living(Box::new(Launched {
            id: id.clone(),
            cgroup: PodCgroup::saved(self.cgroup, self.parent),
            places,
            state_dir: self.state_dir,
            overhead: self.overhead,
            supervisor,
            agent,
        })))
    }
}

/// A sandbox that was made before a restart of ours.
pub(super) enum Found {
    /// Its agent lives.
    Living(Box<Launched>),
    /// Its agent died, and left what it wrote down here.
    Ended(Places),
}
