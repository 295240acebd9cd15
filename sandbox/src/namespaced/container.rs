//! A container on the host.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::sandbox::Shared;
use crate::agent::{AgentContainer, refused};
use crate::leftovers::remove_path;
use crate::{
    Container, ContainerExit, ContainerId, ContainerStats, ContainerStatus, ExecSpec, Process,
    Resources, Result, Signal, record,
};

/// A container on the host.
pub(super) struct NamespacedContainer {
    inner: AgentContainer,
    sandbox: Arc<Shared>,
}

/// What the agent does not tell again after a restart of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    version: u32,
    user: (u32, u32, Vec<u32>),
}

impl NamespacedContainer {
    /// One that was just made.
    pub(super) fn created(inner: AgentContainer, sandbox: Arc<Shared>) -> Result<Arc<Self>> {
        let made = Self { inner, sandbox };
        let record = Record {
            version: 1,
            user: made.inner.status().user,
        };
        record::write(&made.record_path(), &record)?;
        Ok(Arc::new(made))
    }

    /// One that was made before a restart of ours.
    pub(super) fn adopted(inner: AgentContainer, sandbox: Arc<Shared>) -> Result<Arc<Self>> {
        let found = Self { inner, sandbox };
        if let Some(record) = record::read::<Record>(&found.record_path())? {
            found.inner.life().set_user(record.user);
        }
        Ok(Arc::new(found))
    }

    fn record_path(&self) -> PathBuf {
        record_path(&self.sandbox.places().containers, self.inner.id())
    }
}

fn record_path(dir: &Path, id: &ContainerId) -> PathBuf {
    dir.join(format!("{id}.json"))
}

#[async_trait]
impl Container for NamespacedContainer {
    fn id(&self) -> &ContainerId {
        self.inner.id()
    }

    async fn start(&self) -> Result<()> {
        self.inner.start().await
    }

    async fn exec(&self, spec: ExecSpec) -> Result<Process> {
        self.inner.exec(spec).await
    }

    async fn attach(&self, spec: ExecSpec) -> Result<Process> {
        self.inner.attach(spec).await
    }

    async fn signal(&self, signal: Signal) -> Result<()> {
        self.inner.signal(signal).await
    }

    async fn update(&self, resources: Resources) -> Result<()> {
        self.inner.update(&resources).await
    }

    async fn stats(&self) -> Result<ContainerStats> {
        self.inner.stats().await
    }

    async fn status(&self) -> Result<ContainerStatus> {
        Ok(self.inner.status())
    }

    async fn wait(&self) -> ContainerExit {
        self.inner.wait().await
    }

    async fn reopen_log(&self) -> Result<()> {
        let agent = self.sandbox.agent().client();
        agent.reopen_log(&self.id().0).await.map_err(refused)
    }

    async fn remove(&self) -> Result<()> {
        self.sandbox.forget_container(self.id()).await?;
        remove_path(&self.record_path())
    }
}
