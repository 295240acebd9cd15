//! Files and directories of the node that a machine's guest sees.
//!
//! A process of the pod's own, `bulkhead-fsd`, serves them over virtio-fs. It is started, and its device
//! attached, when the first is wanted. What it serves is mounted into its mount namespace and nowhere
//! else, so that nothing is left once it is dead. A volume stays until then: the guest may still have
//! files of it open, and a container that is started again finds it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

mod mounts_below;
mod server;
mod tree;
mod volume;

pub(super) use volume::{Access, Wanted};

use super::config::{Config, HostVolumes};
use super::control::Control;
use super::plan::Places;
use crate::cgroup::PodCgroup;
use crate::supervisor::{self, Supervisor};
use crate::{Error, Kind, Result, record};
use server::Launch;
use volume::Identity;

/// Most volumes of a machine, so that a container that is started again and again does not fill the node.
const MAX_VOLUMES: usize = 1024;

/// What the guest mounts the device by. The agent knows it, too.
const TAG: &str = "bulkhead";

/// The shape of [`Record`].
const VERSION: u32 = 1;

/// The volumes of one machine.
pub(super) struct Shares {
    config: Arc<Config>,
    control: Arc<Control>,
    cgroup: PodCgroup,
    places: Places,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    server: Option<Arc<Supervisor>>,
    volumes: Vec<Volume>,
}

/// Something of the node's that is mounted for the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Volume {
    /// The directory or file that it is mounted on, below the server's root.
    name: String,
    identity: Identity,
    access: Access,
}

/// A volume as the guest is to mount it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Its name below the root of the file system.
    pub(super) name: String,
    /// All of it is to be read-only, in the guest's own view too.
    pub(super) readonly: bool,
}

/// What survives a restart of ours.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    server: supervisor::Saved,
    volumes: Vec<Volume>,
}

impl Shares {
    /// A machine without volumes.
    pub(super) fn none(
        config: Arc<Config>,
        control: Arc<Control>,
        cgroup: PodCgroup,
        places: Places,
    ) -> Self {
        Self {
            config,
            control,
            cgroup,
            places,
            state: Mutex::default(),
        }
    }

    /// Takes back what was served before a restart of ours.
    pub(super) async fn recall(&self) -> Result<()> {
        let Some(record) = record::read::<Record>(&self.places.shares)? else {
            return Ok(());
        };
        let doing = || format!("read {}", self.places.shares.display());
        if record.version != VERSION {
            let doing = format!("{}: version {} is unknown", doing(), record.version);
            return Err(Error::new(Kind::Internal, doing));
        }
        // One that is dead was never attached: the machine ends with one that was.
        if let Some(server) = Supervisor::adopt(&record.server)? {
            *self.state.lock().await = State {
                server: Some(Arc::new(server)),
                volumes: record.volumes,
            };
        }
        Ok(())
    }

    /// Makes all of `wanted` visible to the guest, and tells how each is to be mounted, in their order. A server
    /// that is started for it gets `oom_score_adj`.
    pub(super) async fn provide(
        &self,
        wanted: &[Wanted],
        oom_score_adj: i32,
    ) -> Result<Vec<Share>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        if self.config.host_volumes == HostVolumes::Refused {
            return Err(not_configured(&wanted[0]));
        }
        let mut state = self.state.lock().await;
        self.start(&mut state, oom_score_adj).await?;
        let mut shares = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let provided = self.provide_one(&mut state, wanted).await;
            shares.push(provided.map_err(|error| {
                let doing = format!(
                    "share {} with the machine for {}",
                    wanted.source.display(),
                    wanted.destination
                );
                Error::caused(error.kind(), doing, error)
            })?);
        }
        Ok(shares)
    }

    /// Starts the server and attaches its device, unless that was done.
    async fn start(&self, state: &mut State, oom_score_adj: i32) -> Result<()> {
        if state.server.is_some() {
            if supervisor::is_held(&self.places.fsd_lock)? {
                return Ok(());
            }
            // The machine never had it, or would have ended with it.
            *state = State::default();
        }
        let launch = Launch {
            program: &self.config.fsd,
            cgroup: &self.cgroup,
            places: &self.places,
            oom_score_adj,
        };
        let started = launch.start()?;
        // Before the machine has it, so that a server that dies in between finds it again. The machine
        // never has a second one.
        self.write(&started.supervisor, &[])?;
        let socket = &started.socket;
        if let Err(error) = server::attach(&self.control, TAG, socket).await {
            started.supervisor.bury().await;
            let words = launch.last_words();
            let doing =
                format!("attach the pod's file system; the server's last words are {words:?}");
            return Err(Error::caused(error.kind(), doing, error));
        }
        let pid = started.supervisor.pid();
        tracing::info!(pid, share = %self.places.share.display(), "files of the node can be shared with a machine");
        let server = Arc::new(started.supervisor);
        state.server = Some(Arc::clone(&server));
        // It ends with the machine, and as our child stays a zombie until somebody asks how.
        tokio::spawn(async move {
            let how = server.wait().await;
            tracing::debug!(pid, how, "a machine's file server is gone");
        });
        Ok(())
    }

    async fn provide_one(&self, state: &mut State, wanted: &Wanted) -> Result<Share> {
        let source = wanted.open()?;
        let identity = source.identity(wanted.follows_node)?;
        // A guest sees one file system, so to it nothing in a read-only volume is writable. Then the node
        // alone forbids what is forbidden.
        let readonly = match wanted.access {
            Access::Full => false,
            Access::ReadOnly => !source.may_have_mounts_below(&identity)?,
            Access::ReadOnlyTree => true,
        };
        let share = |name: &str| Share {
            name: name.to_owned(),
            readonly,
        };
        if let Some(volume) = state.find(&identity, wanted.access, readonly) {
            return Ok(share(&volume.name));
        }
        if state.volumes.len() >= MAX_VOLUMES {
            let doing = format!("find room: the machine has had {MAX_VOLUMES} volumes");
            return Err(Error::new(Kind::NoSpace, doing));
        }
        let server = state.server.as_ref().expect("it was started before");
        let namespace = server.try_clone_pidfd()?;
        let (root, access, first) = (
            self.places.share.clone(),
            wanted.access,
            state.volumes.len(),
        );
        let follows = wanted.follows_node;
        let mount = move || source.mount(&namespace, &root, first, access, follows);
        let name = blocking(mount).await?;
        tracing::debug!(source = %wanted.source.display(), name, ?access, "a volume is shared");
        state.volumes.push(Volume {
            name: name.clone(),
            identity,
            access,
        });
        self.write(server, &state.volumes)?;
        Ok(share(&name))
    }

    fn write(&self, server: &Supervisor, volumes: &[Volume]) -> Result<()> {
        let record = Record {
            version: VERSION,
            server: server.saved().clone(),
            volumes: volumes.to_vec(),
        };
        record::write(&self.places.shares, &record)
    }

    /// Says how willingly the kernel kills the server for want of memory, if there is one.
    pub(super) async fn set_oom_score_adj(&self, score: i32) -> Result<()> {
        match &self.state.lock().await.server {
            Some(server) => server.set_oom_score_adj(score),
            None => Ok(()),
        }
    }

    /// The pid of the process that serves the volumes, if there is one.
    pub(super) async fn server_pid(&self) -> Option<u32> {
        let state = self.state.lock().await;
        state.server.as_ref().map(|server| server.pid())
    }
}

impl State {
    /// What can stand in: the same thing with the same rights; or a writable one, if the guest is to forbid
    /// what the container must not do (`guest_forbids`). Whoever can write to it elsewhere in the pod gains
    /// nothing, and both see it as one, so that locks and maps work between them.
    fn find(&self, identity: &Identity, access: Access, guest_forbids: bool) -> Option<&Volume> {
        let fits = |volume: &&Volume| volume.identity == *identity;
        let mut same = self.volumes.iter().filter(fits);
        let exact = same.clone().find(|volume| volume.access == access);
        let writable = same.find(|volume| guest_forbids && volume.access == Access::Full);
        writable.or(exact)
    }
}

/// Looking at the node's files may take long, so it is done where that does no harm.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::caused(Kind::Internal, "mount a volume", e))?
}

fn not_configured(wanted: &Wanted) -> Error {
    let doing = format!(
        "mount {} at {}: this handler shares no files with the node (host_volumes = \"refused\"); what \
         its machines can have are Secrets, ConfigMaps, projected and downward-API volumes, and images",
        wanted.source.display(),
        wanted.destination
    );
    Error::new(Kind::Unsupported, doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str, inode: u64, access: Access) -> Volume {
        Volume {
            name: name.into(),
            identity: Identity {
                inode,
                ..Identity::default()
            },
            access,
        }
    }

    #[test]
    fn containers_that_write_and_read_the_same_directory_share_one_volume() {
        let state = State {
            server: None,
            volumes: vec![
                volume("v0", 1, Access::ReadOnly),
                volume("v1", 1, Access::Full),
                volume("v2", 2, Access::ReadOnly),
            ],
        };
        let find_in = |inode, access, guest_forbids| {
            let wanted = volume("", inode, access);
            let found = state.find(&wanted.identity, access, guest_forbids);
            found.map(|volume| volume.name.as_str())
        };
        let find = |inode, access| find_in(inode, access, access != Access::Full);
        assert_eq!(find(1, Access::Full), Some("v1"));
        assert_eq!(find(1, Access::ReadOnly), Some("v1"));
        assert_eq!(find(1, Access::ReadOnlyTree), Some("v1"));
        assert_eq!(find(2, Access::ReadOnly), Some("v2"));
        assert_eq!(find(2, Access::Full), None);
        assert_eq!(find(3, Access::ReadOnly), None);
        // The guest would let a container write to it.
        assert_eq!(find_in(1, Access::ReadOnly, false), Some("v0"));
    }
}
