//! A sandbox on the host: its agent, what is known of it, and its end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::container::NamespacedContainer;
use super::launch::{Launched, Places};
use super::{exits, files};
use crate::agent::{Agent, Ours, Pids, lost, refused, to_request};
use crate::cgroup::{Limits, Parent};
use crate::ending::Ending;
use crate::leftovers::Leftovers;
use crate::supervisor::LogFile;
use crate::{
    Connection, Container, ContainerId, ContainerSpec, Error, Kind, Resources, Result, Sandbox,
    SandboxExit, SandboxId, SandboxStats, SavedSandbox,
};

/// An agent without containers ends at once; after this it is killed.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// How often the agent's log is looked at.
const TRIM_INTERVAL: Duration = Duration::from_secs(60);

/// A sandbox on the host.
pub(super) struct NamespacedSandbox {
    shared: Arc<Shared>,
}

/// What a sandbox, its containers and the task that watches it share.
pub(super) struct Shared {
    launched: Launched,
    leftovers: Leftovers,
    ending: Ending,
}

impl Shared {
    pub(super) fn agent(&self) -> &Agent {
        &self.launched.agent
    }

    pub(super) fn places(&self) -> &Places {
        &self.launched.places
    }

    /// Kills what is left of a container and forgets it. Without an agent nothing is left of it.
    pub(super) async fn forget_container(&self, id: &ContainerId) -> Result<()> {
        let removed = self.agent().client().remove_container(&id.0).await;
        if let Err(error) = removed
            && self.ending.now().is_none()
        {
            return Err(refused(error));
        }
        self.agent().table().remove(id);
        Ok(())
    }

    /// Reads the ends that the agent wrote down and had no time to tell.
    fn read_exits(&self) {
        for (id, life) in self.agent().table().living() {
            if let Some(exit) = exits::of(self.places(), &id) {
                life.ended(exit);
            }
        }
    }

    /// Waits for the agent's death, whatever its cause, and leaves nothing running.
    async fn watch(self: Arc<Self>) {
        let launched = &self.launched;
        let log = LogFile::at(launched.places.log.clone());
        let mut trim = tokio::time::interval(TRIM_INTERVAL);
        let death = launched.supervisor.wait();
        tokio::pin!(death);
        let how = loop {
            tokio::select! {
                how = &mut death => break how,
                _ = trim.tick() => {
                    if let Err(error) = log.trim() {
                        tracing::warn!(sandbox_id = %launched.id, %error, "the agent's log can't be trimmed");
                    }
                }
            }
        };
        let out_of_memory = launched.cgroup.supervisor_ran_out_of_memory();
        if let Err(error) = launched.cgroup.remove().await {
            tracing::error!(sandbox_id = %launched.id, error = %error.chain(), "a pod's cgroup is left");
        }
        let mut message = format!("the pod's supervisor {how}");
        if out_of_memory {
            message.push_str(", after the pod ran out of memory");
        }
        if self.ending.was_asked() {
            message = "stopped".to_owned();
        } else {
            tracing::error!(sandbox_id = %launched.id, log = %log.path().display(), "{message}");
        }
        self.read_exits();
        launched.agent.gone(&lost(&message));
        self.ending.come(message);
    }
}

impl NamespacedSandbox {
    /// Takes a running agent in charge.
    pub(super) fn new(launched: Launched, leftovers: Leftovers) -> Arc<Self> {
        let shared = Arc::new(Shared {
            launched,
            leftovers,
            ending: Ending::default(),
        });
        tokio::spawn(shared.clone().watch());
        Arc::new(Self { shared })
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

#[async_trait]
impl Sandbox for NamespacedSandbox {
    fn id(&self) -> &SandboxId {
        &self.shared.launched.id
    }

    async fn create_container(&self, spec: ContainerSpec) -> Result<Arc<dyn Container>> {
        self.alive("create container")?;
        let request = to_request(&spec, files::provide(&spec)?);
        let inner = self
            .shared
            .agent()
            .create(&spec.id, request, Pids::OfNode, Ours::default())
            .await?;
        match NamespacedContainer::created(inner, self.shared.clone()) {
            Ok(container) => Ok(container),
            Err(error) => {
                self.shared.forget_container(&spec.id).await?;
                Err(error)
            }
        }
    }

    async fn adopt_container(&self, id: &ContainerId) -> Result<Arc<dyn Container>> {
        let Some(inner) = self.shared.agent().known(id) else {
            let doing = format!("adopt container {id}: sandbox {} has none such", self.id());
            return Err(Error::new(Kind::NotFound, doing));
        };
        Ok(NamespacedContainer::adopted(inner, self.shared.clone())?)
    }

    async fn update(&self, resources: Resources) -> Result<()> {
        self.alive("update")?;
        let Launched {
            cgroup, overhead, ..
        } = &self.shared.launched;
        cgroup.apply(&match cgroup.parent() {
            Parent::Ours => Limits::of_pod(&resources, overhead),
            Parent::Kubelet => Limits::within_kubelets(&resources, overhead),
        })
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
        let Shared {
            launched, ending, ..
        } = &*self.shared;
        ending.ask();
        if ending.now().is_some() {
            return Ok(());
        }
        let asked = async {
            launched.agent.stop_containers(grace).await;
            let shut_down = async {
                // An answer may be lost with the agent that gave it.
                let _ = launched.agent.client().shutdown(Duration::ZERO).await;
                ending.wait().await
            };
            tokio::time::timeout(SHUTDOWN_LIMIT, shut_down).await
        };
        let in_time = tokio::select! {
            _ = ending.wait() => true,
            ended = asked => ended.is_ok(),
        };
        if !in_time {
            tracing::warn!(sandbox_id = %launched.id, "the agent did not end when asked; killing it");
            launched.cgroup.kill()?;
            launched.supervisor.kill();
            ending.wait().await;
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
        self.shared.launched.saved().write(self.id())
    }

    async fn explain(&self) -> Vec<(String, String)> {
        let launched = &self.shared.launched;
        let hello = launched.agent.client().hello();
        [
            ("kind", "namespaces of the node".to_owned()),
            ("supervisor_pid", launched.supervisor.pid().to_string()),
            ("agent", hello.build.clone()),
            ("agent_log", launched.places.log.display().to_string()),
            ("kernel", hello.kernel.clone()),
            ("cgroup", launched.cgroup.path().to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}
