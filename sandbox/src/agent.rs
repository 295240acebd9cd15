//! A pod's agent, as both kinds of sandbox drive it: calls, what it tells by itself, and the containers.
//!
//! An agent in a guest is the guest's: what it says is bounded, parsed, and believed only about its own
//! containers. No path of the host ever comes from it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agent_api::client::{Address, Client};
use agent_api::v1;
use tokio::task::{JoinHandle, JoinSet};

mod container;
mod events;
mod last_words;
mod life;
mod resources;
mod streams;
mod table;
mod translate;
mod words;

pub(crate) use container::AgentContainer;
pub(crate) use life::{Life, exit, lost};
pub(crate) use table::Table;
pub(crate) use translate::{Files, to_request};
pub(crate) use words::{quoted, refused};

use crate::{Connection, ContainerExit, ContainerId, Kind, Result, RunState, Signal};

/// How long the killed may take to be reported dead.
const BURIAL_LIMIT: Duration = Duration::from_secs(10);

/// A connection to a pod's agent, and what is known of its containers.
#[derive(Debug)]
pub(crate) struct Agent {
    client: Client,
    table: Arc<Table>,
    events: JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.events.abort();
    }
}

impl Agent {
    /// Connects to the agent of a new sandbox at `address`, or gives up after `limit`.
    pub(crate) async fn connect(address: &Address, limit: Duration) -> Result<Self> {
        let client = Client::connect(address, limit).await.map_err(refused)?;
        Ok(Self::followed(client, Table::default()))
    }

    /// Connects to the agent of a sandbox that was made before a restart of ours. Takes back the containers
    /// that are `ours`, by what the agent says of them; a guest may list any.
    pub(crate) async fn reconnect(
        address: &Address,
        limit: Duration,
        pids: Pids,
        ours: impl Fn(&ContainerId) -> Option<Ours>,
    ) -> Result<Self> {
        let client = Client::connect(address, limit).await.map_err(refused)?;
        let table = Table::default();
        let listed = client.list_containers(None).await.map_err(refused)?;
        for container in listed {
            let id = ContainerId(container.container_id.clone());
            let Some(Ours { last_words }) = ours(&id) else {
                tracing::warn!(container_id = %quoted(&id.0), "an agent lists a container that is not ours");
                continue;
            };
            let life = table.insert(&id);
            life.leaves_words_in(last_words);
            life.recalled(&container, pids);
        }
        Ok(Self::followed(client, table))
    }

    /// Events about containers that are not in `table` yet are not heard.
    fn followed(client: Client, table: Table) -> Self {
        let table = Arc::new(table);
        let events = tokio::spawn(events::follow(client.clone(), table.clone()));
        Self {
            client,
            table,
            events,
        }
    }

    /// For calls.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The containers that are known.
    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The agent is gone: whatever still lived has ended like this, and there is nothing more to hear.
    pub(crate) fn gone(&self, exit: &ContainerExit) {
        self.events.abort();
        self.table.end_all(exit);
    }

    /// Makes a container and begins to follow its life.
    pub(crate) async fn create(
        &self,
        id: &ContainerId,
        request: v1::CreateContainerRequest,
        pids: Pids,
        Ours { last_words }: Ours,
    ) -> Result<AgentContainer> {
        // Known before it is made, so that no event about it comes too early to be heard.
        let life = self.table.insert(id);
        life.leaves_words_in(last_words);
        match self.client.create_container(request).await {
            Ok(reply) => {
                life.created(&reply, pids);
                Ok(self.container(id, life))
            }
            Err(error) => {
                self.remove_unmade(id).await;
                self.table.remove(id);
                Err(refused(error))
            }
        }
    }

    /// Where only the answer was lost, it is made all the same, from what is about to be taken away.
    async fn remove_unmade(&self, id: &ContainerId) {
        if let Err(error) = self.client.remove_container(&id.0).await {
            let error = refused(error);
            tracing::warn!(container_id = %id, error = %error.chain(), "a container that could not be made may be left");
        }
    }

    /// Connects to a TCP port inside.
    pub(crate) async fn dial(&self, port: u16) -> Result<Connection> {
        let session = self.client.dial(port).await.map_err(refused)?;
        Ok(streams::connection(session))
    }

    /// A known container.
    pub(crate) fn known(&self, id: &ContainerId) -> Option<AgentContainer> {
        Some(self.container(id, self.table.get(id)?))
    }

    fn container(&self, id: &ContainerId, life: Arc<Life>) -> AgentContainer {
        AgentContainer::new(id.clone(), self.client.clone(), life)
    }

    /// Asks every container to end, kills after `grace` what is left, and waits until all are dead and
    /// their ends are known.
    pub(crate) async fn stop_containers(&self, grace: Duration) {
        if self.signal_living(Signal::TERM).await == Reached::No {
            return;
        }
        if tokio::time::timeout(grace, self.all_ended()).await.is_ok() {
            return;
        }
        if self.signal_living(Signal::KILL).await == Reached::No {
            return;
        }
        let buried = tokio::time::timeout(BURIAL_LIMIT, self.all_ended()).await;
        if buried.is_err() {
            tracing::warn!("containers were killed and not reported dead");
        }
    }

    /// Signals all that live, at the same time. Answers whether the agent was there to do it.
    async fn signal_living(&self, signal: Signal) -> Reached {
        let mut calls = JoinSet::new();
        for (id, life) in self.table.living() {
            // One that was never started has no program that could hear it.
            let signal = match life.status().state {
                RunState::Created => Signal::KILL,
                RunState::Running | RunState::Exited => signal,
            };
            let request = v1::SignalContainerRequest {
                container_id: id.0.clone(),
                signal: signal.0,
                all: signal == Signal::KILL,
            };
            let client = self.client.clone();
            calls.spawn(async move { client.signal_container(request).await.map_err(refused) });
        }
        let mut reached = Reached::Yes;
        while let Some(Ok(answer)) = calls.join_next().await {
            if let Err(error) = answer {
                // One that ended meanwhile is no reason to stop.
                tracing::debug!(error = %error.chain(), "no signal sent");
                if matches!(error.kind(), Kind::Unavailable | Kind::TimedOut) {
                    reached = Reached::No;
                }
            }
        }
        reached
    }

    async fn all_ended(&self) {
        for (_id, life) in self.table.living() {
            life.exit().await;
        }
    }
}

/// What we alone know of a container of ours.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ours {
    /// The file of the node's that its last words belong in, if the agent tells them.
    pub(crate) last_words: Option<PathBuf>,
}

/// Whether the agent answered at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    Yes,
    /// It is dead or hangs: there is nothing to wait for.
    No,
}

/// Whether process ids that the agent tells mean something on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pids {
    /// It lives on this node.
    OfNode,
    /// It lives in a guest.
    OfGuest,
}

/// A time that the agent told, in ns since 1970, but never later than now: a guest may tell anything.
fn told_time(ns: u64) -> SystemTime {
    let now = SystemTime::now();
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_nanos(ns))
        .filter(|_| ns != 0)
        .map_or(now, |told| told.min(now))
}
