//! A sandbox that is a machine: its VMM, its agent, and its end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use vmm_api::Request;

use super::blank_disk::BlankDisks;
use super::config::Config;
use super::control::Events;
use super::disks::Disks;
use super::end::Reason;
use super::launch::Launched;
use super::saved::Saved;
use super::shares::Shares;
use super::users::Users;
use super::{health, plan};
use crate::agent::lost;
use crate::ending::Ending;
use crate::leftovers::Leftovers;
use crate::sizing::size;
use crate::supervisor::LogFile;
use crate::{
    Connection, Container, ContainerId, ContainerSpec, Error, Kind, Resources, Result, Sandbox,
    SandboxExit, SandboxId, SandboxStats, SavedSandbox,
};

/// A guest without containers powers off at once; after this it is ended.
const POWER_OFF_LIMIT: Duration = Duration::from_secs(10);

/// A VMM that was asked to end does so at once; after this it is killed.
const KILL_LIMIT: Duration = Duration::from_secs(3);

/// How often the VMM's log is looked at.
const TRIM_INTERVAL: Duration = Duration::from_secs(60);

/// A sandbox that is a machine.
pub(super) struct VmSandbox {
    shared: Arc<Shared>,
}

/// What a sandbox, its containers and the task that watches it share.
pub(super) struct Shared {
    pub(super) config: Arc<Config>,
    pub(super) host_cpus: u32,
    pub(super) launched: Launched,
    pub(super) disks: Disks,
    pub(super) shares: Shares,
    pub(super) blank_disks: BlankDisks,
    pub(super) ending: Ending,
    /// The VMM's oom_score_adj, once a container has said one.
    pub(super) oom_score: Mutex<Option<i32>>,
    users: Users,
    leftovers: Leftovers,
}

/// What all sandboxes of one handler share.
#[derive(Clone, Debug)]
pub(super) struct Handler {
    pub(super) config: Arc<Config>,
    pub(super) host_cpus: u32,
    pub(super) blank_disks: BlankDisks,
    pub(super) users: Users,
    pub(super) leftovers: Leftovers,
}

impl Handler {
    /// Removes what is left of a sandbox that has no living machine.
    pub(super) async fn clear(&self, id: &SandboxId) -> Result<()> {
        self.leftovers.clear(id).await?;
        self.users.forget_gone()
    }
}

impl VmSandbox {
    /// Takes a machine in charge that was just made.
    pub(super) fn new(handler: Handler, launched: Launched, events: Events) -> Arc<Self> {
        let shared = Shared::new(handler, launched);
        tokio::spawn(shared.clone().watch(events));
        Arc::new(Self { shared })
    }

    /// Takes a machine in charge that was made before a restart of ours.
    pub(super) async fn adopted(
        handler: Handler,
        launched: Launched,
        events: Events,
    ) -> Result<Arc<Self>> {
        let shared = Shared::new(handler, launched);
        shared.recall().await?;
        tokio::spawn(shared.clone().watch(events));
        Ok(Arc::new(Self { shared }))
    }

    fn alive(&self, doing: &str) -> Result<()> {
        match self.shared.ending.now() {
            None => Ok(()),
            Some(exit) => {
                let doing = format!("{doing}: sandbox {} is over: {}", self.id(), exit.message);
                Err(Error::new(Kind::WrongState, doing))
            }
        }
    }
}

impl Shared {
    fn new(handler: Handler, launched: Launched) -> Arc<Self> {
        Arc::new(Self {
            host_cpus: handler.host_cpus,
            disks: Disks::none(launched.control.clone()),
            shares: Shares::none(
                handler.config.clone(),
                launched.control.clone(),
                launched.cgroup.clone(),
                launched.places.clone(),
            ),
            config: handler.config,
            blank_disks: handler.blank_disks,
            users: handler.users,
            leftovers: handler.leftovers,
            ending: Ending::default(),
            oom_score: Mutex::new(None),
            launched,
        })
    }

    /// Waits for the end of the machine, whatever its cause, and leaves nothing running.
    async fn watch(self: Arc<Self>, events: Events) {
        let reason = self.end(events).await;
        let launched = &self.launched;
        let message = self.explain_end(&reason);
        if !self.ending.was_asked() {
            tracing::error!(sandbox_id = %launched.id, console = %launched.places.console.display(), "{message}");
        }
        if let Err(error) = launched.cgroup.remove().await {
            tracing::error!(sandbox_id = %launched.id, error = %error.chain(), "a pod's cgroup is left");
        }
        if let Err(error) = self.users.forget_gone() {
            tracing::warn!(sandbox_id = %launched.id, error = %error.chain(), "a VMM's user is left");
        }
        launched.agent.gone(&lost(&message));
        self.ending.come(message);
    }

    /// Resolves when the VMM is dead.
    async fn end(&self, events: Events) -> Reason {
        let launched = &self.launched;
        let limit = Duration::from_secs(self.config.hang_timeout_s);
        let limit = Some(limit).filter(|limit| !limit.is_zero());
        let over = async {
            // The events end with the VMM, so what it told is known before its death is looked at.
            let told = Reason::told_by(events).await;
            let how = launched.supervisor.wait().await;
            told.unwrap_or(Reason::Died(how))
        };
        tokio::select! {
            reason = over => return reason,
            () = health::hung(&launched.agent, limit) => {}
            never = self.trim_logs() => match never {},
        }
        launched.supervisor.kill();
        launched.supervisor.wait().await;
        Reason::Hung
    }

    async fn trim_logs(&self) -> Infallible {
        let places = &self.launched.places;
        let logs = [&places.log, &places.fsd_log].map(|path| LogFile::at(path.clone()));
        loop {
            tokio::time::sleep(TRIM_INTERVAL).await;
            for log in &logs {
                if let Err(error) = log.trim() {
                    tracing::warn!(sandbox_id = %self.launched.id, path = %log.path().display(), %error, "a log can't be trimmed");
                }
            }
        }
    }

    /// Ends the machine: first in good order, then by force.
    async fn shut_down(&self, grace: Duration) {
        let launched = &self.launched;
        launched.agent.stop_containers(grace).await;
        // The answer may be lost with the guest that gave it.
        let off = tokio::time::timeout(POWER_OFF_LIMIT, async {
            let _ = launched.agent.client().shutdown(Duration::ZERO).await;
            self.ending.wait().await
        });
        if off.await.is_ok() {
            return;
        }
        tracing::warn!(sandbox_id = %launched.id, "the guest did not power off; ending the machine");
        let _ = tokio::time::timeout(KILL_LIMIT, async {
            let _ = launched.control.tell(&Request::Kill, &[]).await;
            self.ending.wait().await
        })
        .await;
        launched.supervisor.kill();
    }
}

#[async_trait]
impl Sandbox for VmSandbox {
    fn id(&self) -> &SandboxId {
        &self.shared.launched.id
    }

    async fn create_container(&self, spec: ContainerSpec) -> Result<Arc<dyn Container>> {
        self.alive("create container")?;
        Ok(self.shared.assemble(spec).await?)
    }

    async fn adopt_container(&self, id: &ContainerId) -> Result<Arc<dyn Container>> {
        match self.shared.known(id)? {
            Some(container) => Ok(container),
            None => {
                let doing = format!("adopt container {id}: sandbox {} has none such", self.id());
                Err(Error::new(Kind::NotFound, doing))
            }
        }
    }

    async fn update(&self, resources: Resources) -> Result<()> {
        self.alive("update")?;
        let Shared {
            config,
            host_cpus,
            launched,
            ..
        } = &*self.shared;
        let wanted = size(&plan::policy(config, *host_cpus), &resources, None);
        if resources.memory_bytes.is_some() && wanted.memory_mib > launched.size.memory_mib {
            let doing = format!(
                "grow the machine from {} to {}: it can't grow yet",
                launched.size.memory_mib, wanted.memory_because
            );
            return Err(Error::new(Kind::Unsupported, doing));
        }
        let limits = plan::limits(
            config,
            &launched.cgroup,
            &launched.size,
            &resources,
            &launched.overhead,
        );
        launched.cgroup.apply(&limits)
    }

    async fn dial(&self, port: u16) -> Result<Connection> {
        self.alive("connect to a port")?;
        self.shared.launched.agent.dial(port).await
    }

    async fn stats(&self) -> Result<SandboxStats> {
        self.alive("read stats")?;
        self.shared.launched.cgroup.stats()
    }

    async fn stop(&self, grace: Duration) -> Result<()> {
        let ending = &self.shared.ending;
        ending.ask();
        tokio::select! {
            biased;
            _ = ending.wait() => {}
            () = self.shared.shut_down(grace) => { ending.wait().await; }
        }
        Ok(())
    }

    async fn remove(&self) -> Result<()> {
        self.stop(Duration::ZERO).await?;
        self.shared.leftovers.clear(self.id()).await
    }

    async fn wait(&self) -> SandboxExit {
        self.shared.ending.wait().await
    }

    fn save(&self) -> SavedSandbox {
        Saved::of(&self.shared.launched).write(self.id())
    }

    fn network_setup(&self) -> Option<Duration> {
        self.shared.launched.network_setup
    }

    async fn explain(&self) -> Vec<(String, String)> {
        self.shared.facts().await
    }
}
