//! The agent itself: one sandbox, its containers, and what they have in common.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use agent_api::v1;
use parking_lot::Mutex;
use tokio::sync::{Notify, OnceCell};

use crate::Error;
use crate::container::Container;
use crate::container::cgroup::is_name;
use crate::container::create;
use crate::events::Events;
use crate::guest::disks::Disks;
use crate::guest::modules;
use crate::log::LogWriter;
use crate::mode::Mode;
use crate::reaper::Reaper;
use crate::sandbox::Sandbox;

mod record;

/// How long a removal waits for what is being done to its container. No longer than the client waits for it.
const SETTLED_WITHIN: Duration = Duration::from_secs(50);

/// One pod's agent.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) mode: Mode,
    pub(crate) reaper: Arc<Reaper>,
    pub(crate) events: Events,
    pub(crate) disks: Arc<Disks>,
    /// Of a guest's VMM, for containers' output.
    pub(crate) log_writer: Option<LogWriter>,
    /// Of a guest's kernel, for containers.
    pub(crate) later_modules: modules::Later,
    sandbox: OnceCell<Sandbox>,
    containers: Mutex<HashMap<String, Entry>>,
    /// Some name is not [`Entry::Busy`] any more.
    settled: Notify,
    /// Everything has ended and the agent may too.
    pub(crate) ended: Notify,
}

/// A name that is taken.
#[derive(Clone, Debug)]
enum Entry {
    /// By a container that is being made or removed.
    Busy,
    /// By one that is there.
    There(Arc<Container>),
}

impl Agent {
    /// An agent without a sandbox yet.
    pub(crate) fn new(mode: Mode, reaper: Arc<Reaper>, log_writer: Option<LogWriter>) -> Arc<Self> {
        Arc::new(Self {
            mode,
            reaper,
            events: Events::default(),
            disks: Arc::default(),
            log_writer,
            later_modules: modules::Later::default(),
            sandbox: OnceCell::new(),
            containers: Mutex::default(),
            settled: Notify::new(),
            ended: Notify::new(),
        })
    }

    /// Makes the sandbox, once. A repetition is fine, a different sandbox is not.
    pub(crate) async fn configure(
        &self,
        request: v1::ConfigureSandboxRequest,
    ) -> Result<(), Error> {
        let wanted = request.clone();
        let made = self
            .sandbox
            .get_or_try_init(|| Sandbox::configure(self.mode, &self.reaper, request))
            .await?;
        if made.is(&wanted) {
            Ok(())
        } else {
            Err(Error::ConfiguredDifferently)
        }
    }

    /// The sandbox, once it is configured.
    pub(crate) fn sandbox(&self) -> Result<&Sandbox, Error> {
        self.sandbox.get().ok_or(Error::NotConfigured)
    }

    /// Makes a container.
    pub(crate) async fn create(
        self: &Arc<Self>,
        request: v1::CreateContainerRequest,
    ) -> Result<Arc<Container>, Error> {
        let id = request.container_id.clone();
        if !is_name(&id) {
            return Err(Error::Invalid(format!("{id:?} cannot be a container's id")));
        }
        let sandbox = self.sandbox()?;
        if self.mode == Mode::Guest {
            self.later_modules.load().await;
        }
        self.reserve(&id)?;
        let made = create::create(self, sandbox, request).await;
        self.settle(&id, made.as_ref().ok());
        made
    }

    /// A container that was being made or removed is there, or its name is free again.
    fn settle(&self, id: &str, container: Option<&Arc<Container>>) {
        let mut containers = self.containers.lock();
        match container {
            Some(there) => containers.insert(id.to_owned(), Entry::There(Arc::clone(there))),
            None => containers.remove(id),
        };
        drop(containers);
        self.settled.notify_waiters();
    }

    fn reserve(&self, id: &str) -> Result<(), Error> {
        let mut containers = self.containers.lock();
        match containers.get(id) {
            Some(Entry::Busy) => Err(Error::Busy(id.to_owned())),
            Some(Entry::There(_)) => Err(Error::ContainerExists(id.to_owned())),
            None => {
                containers.insert(id.to_owned(), Entry::Busy);
                Ok(())
            }
        }
    }

    /// The container with this id.
    pub(crate) fn container(&self, id: &str) -> Result<Arc<Container>, Error> {
        match self.containers.lock().get(id) {
            Some(Entry::There(container)) => Ok(Arc::clone(container)),
            Some(Entry::Busy) => Err(Error::Busy(id.to_owned())),
            None => Err(Error::NoContainer(id.to_owned())),
        }
    }

    /// All containers, or the one named; of one that does not exist, none.
    pub(crate) fn containers(&self, id: &str) -> Vec<Arc<Container>> {
        let containers = self.containers.lock();
        let mut found: Vec<_> = containers
            .values()
            .filter_map(|entry| match entry {
                Entry::There(container) if id.is_empty() || container.id == id => {
                    Some(Arc::clone(container))
                }
                _ => None,
            })
            .collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found
    }

    /// Kills what is left of a container and forgets it; an unknown one is fine. One that is being made
    /// is waited for: whoever asked for it may have given up, and nobody else would take it away.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), Error> {
        let Some(container) = self.take_settled(id).await? else {
            return Ok(());
        };
        let removed = self.take_apart(&container).await;
        // After a failure it is still there, so that removing it can be tried again.
        self.settle(id, removed.is_err().then_some(&container));
        removed
    }

    /// The container with this id, whose name is busy from now on; waits while it is already.
    async fn take_settled(&self, id: &str) -> Result<Option<Arc<Container>>, Error> {
        let settled = async {
            loop {
                let change = self.settled.notified();
                tokio::pin!(change);
                // From here on no change is missed.
                change.as_mut().enable();
                match self.take(id) {
                    Err(Error::Busy(_)) => change.await,
                    taken => return taken,
                }
            }
        };
        tokio::time::timeout(SETTLED_WITHIN, settled)
            .await
            .unwrap_or_else(|_| Err(Error::Busy(id.to_owned())))
    }

    fn take(&self, id: &str) -> Result<Option<Arc<Container>>, Error> {
        let mut containers = self.containers.lock();
        let Some(entry) = containers.get_mut(id) else {
            return Ok(None);
        };
        match std::mem::replace(entry, Entry::Busy) {
            Entry::There(container) => Ok(Some(container)),
            Entry::Busy => Err(Error::Busy(id.to_owned())),
        }
    }

    async fn take_apart(&self, container: &Container) -> Result<(), Error> {
        container.kill_and_wait().await?;
        container
            .cgroup
            .remove(crate::container::REMOVED_WITHIN)
            .await?;
        let disks = container.disks.lock().take();
        if let Some(mut disks) = disks {
            let released = disks.release().await;
            if released.is_err() {
                *container.disks.lock() = Some(disks);
            }
            released?;
        }
        self.forget_record(container);
        Ok(())
    }

    /// pidfd of a process in whose PID namespace a container is to be; `None` means our own, or a new one.
    pub(crate) async fn pid_namespace(
        &self,
        sandbox: &Sandbox,
        wanted: &v1::Namespaces,
    ) -> Result<Option<rustix::fd::OwnedFd>, Error> {
        let owned = |process: BorrowedFd<'_>| {
            process.try_clone_to_owned().map_err(|source| Error::Io {
                doing: "join the PID namespace",
                source,
            })
        };
        match wanted.pid() {
            v1::PidNamespace::PidContainer => Ok(None),
            v1::PidNamespace::PidPod => owned(sandbox.pid_one(&self.reaper).await?).map(Some),
            v1::PidNamespace::PidHost if self.mode == Mode::Guest => Err(Error::NotInThisMode(
                "sharing the PID namespace of the node",
                "on the host",
            )),
            v1::PidNamespace::PidHost => Ok(None),
            v1::PidNamespace::PidTarget => {
                let target = self.container(&wanted.pid_target)?;
                target.state().must_run().map_err(|source| Error::Denied {
                    id: target.id.clone(),
                    source,
                })?;
                owned(rustix::fd::AsFd::as_fd(&target.pidfd)).map(Some)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn a_removal_waits_for_the_making_and_not_for_ever() {
        let agent = Agent::new(Mode::Host, Arc::default(), None);
        agent.remove("c1").await.unwrap();
        agent.reserve("c1").unwrap();
        let removal = {
            let agent = Arc::clone(&agent);
            tokio::spawn(async move { agent.remove("c1").await })
        };
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert!(!removal.is_finished());
        agent.settle("c1", None);
        removal.await.unwrap().unwrap();
        agent.reserve("c1").unwrap();
        let error = agent.remove("c1").await.unwrap_err();
        assert!(matches!(error, Error::Busy(_)), "{error}");
    }
}
