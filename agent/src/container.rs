//! A container: its state, its processes, and how it ends.
//!
//! ```text
//! create ─▶ Created ─start─▶ Running ─▶ Exited
//!              └──────── killed ─────────┘
//! ```

pub(crate) mod capabilities;
pub(crate) mod cgroup;
pub(crate) mod create;
pub(crate) mod devices;
pub(crate) mod exec;
mod last_words;
pub(crate) mod lsm;
pub(crate) mod mounts;
pub(crate) mod namespaces;
pub(crate) mod rlimits;
pub(crate) mod root;
pub(crate) mod signal;
pub(crate) mod state;
pub(crate) mod supervise;
pub(crate) mod tty;
pub(crate) mod user;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use agent_api::v1;
use cgroup::Cgroup;
use parking_lot::Mutex;
use state::{Event, State};
use tokio::sync::watch;

use crate::Error;
use crate::log::Log;
use crate::spawn::Gate;
use crate::spawn::SpawnError;
use crate::stage1::spec::Identity;
use crate::stats::DiskCount;
use crate::stdio::End;
use crate::stdio::fan_out::FanOut;

/// How long the processes of an ended container may take to leave its cgroup.
pub(crate) const REMOVED_WITHIN: Duration = Duration::from_secs(10);

/// A container that was created and not yet removed.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    /// Number of its first process in our PID namespace; another's once it has ended.
    pub(crate) pid: u32,
    /// Its first process.
    pub(crate) pidfd: OwnedFd,
    pub(crate) identity: Identity,
    /// What its first process was asked to be: exec'd ones are alike.
    pub(crate) process: v1::Process,
    pub(crate) cgroup: Cgroup,
    /// Root directory of its devpts.
    devpts: Option<OwnedFd>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) created_at_ns: u64,
    /// What its first process waits for.
    gate: Mutex<Option<Gate>>,
    state: watch::Sender<State>,
    /// Number of the next exec'd process, for the name of its cgroup.
    next_exec: AtomicU64,
    /// Where what it writes is kept, on the agent's side.
    pub(crate) writable: Option<PathBuf>,
    /// What it had written when that was last counted.
    pub(crate) disk_usage: Arc<Mutex<DiskCount>>,
    /// What is to be given back when it is removed. In a guest: its disks.
    pub(crate) disks: Mutex<Option<crate::guest::disks::ContainerDisks>>,
    /// What it left to be told once it has ended.
    last_words: OnceLock<Vec<u8>>,
}

/// The streams of a container's first process.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) log: Log,
    pub(crate) fan_out: FanOut,
    /// Its stdin or terminal; `None` once that is closed, or if it never had one.
    pub(crate) input: Arc<tokio::sync::Mutex<Option<Arc<End>>>>,
    /// Our side of its terminal.
    pub(crate) terminal: Option<Arc<End>>,
    /// stdin ends with that of the first who attaches.
    pub(crate) stdin_once: bool,
}

impl Container {
    /// Its state now.
    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Moves on, or tells why that is not allowed.
    pub(crate) fn apply(&self, event: Event) -> Result<(), Error> {
        let mut denied = None;
        self.state
            .send_if_modified(|state| match state.clone().apply(event) {
                Ok(next) => {
                    *state = next;
                    true
                }
                Err(error) => {
                    denied = Some(error);
                    false
                }
            });
        denied.map_or(Ok(()), |denied| {
            Err(Error::Denied {
                id: self.id.clone(),
                source: denied,
            })
        })
    }

    /// Lets its first process execute its program.
    pub(crate) async fn start(&self) -> Result<(), Error> {
        self.apply(Event::Start {
            at_ns: crate::events::now_ns(),
        })?;
        let gate = self
            .gate
            .lock()
            .take()
            .expect("a container is started once");
        gate.open().await.map_err(|source| {
            // One that did not tell how it failed may be slow, and must not begin after it was said not to.
            if !matches!(source, SpawnError::Failed { .. })
                && let Err(error) = self.cgroup.kill()
            {
                let error = crate::chain(&error);
                tracing::warn!(container_id = %self.id, error, "a container that did not start can't be killed");
            }
            Error::Start {
                id: self.id.clone(),
                source,
            }
        })
    }

    /// Where the file system that is its own alone is mounted, if it has one.
    pub(crate) fn disk_mount(&self) -> Option<PathBuf> {
        self.disks
            .lock()
            .as_ref()
            .and_then(|disks| disks.writable())
    }

    /// Waits until it has ended and all its output is where it belongs.
    pub(crate) async fn exited(&self) -> v1::ContainerExit {
        let mut states = self.state.subscribe();
        // The sender lives as long as we do.
        match states
            .wait_for(|state| matches!(state, State::Exited { .. }))
            .await
            .as_deref()
        {
            Ok(State::Exited { exit, .. }) => *exit,
            _ => v1::ContainerExit::default(),
        }
    }

    /// As the protocol describes it.
    pub(crate) fn status(&self) -> v1::Container {
        let (state, started_at_ns, exit) = match self.state() {
            State::Created => (v1::ContainerState::Created, 0, None),
            State::Running { started_at_ns } => (v1::ContainerState::Running, started_at_ns, None),
            State::Exited {
                started_at_ns,
                exit,
            } => (v1::ContainerState::Exited, started_at_ns, Some(exit)),
        };
        v1::Container {
            container_id: self.id.clone(),
            state: state.into(),
            pid: self.pid,
            created_at_ns: self.created_at_ns,
            started_at_ns,
            exit,
            last_words: self.last_words(),
        }
    }
}
