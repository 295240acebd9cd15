//! One container, as far as both kinds of sandbox treat it alike.

use std::sync::Arc;
use std::time::SystemTime;

use agent_api::client::Client;
use agent_api::v1;

use super::life::Life;
use super::{refused, resources, streams, told_time, translate};
use crate::{
    ContainerExit, ContainerId, ContainerStats, ContainerStatus, Error, ExecSpec, Kind, Process,
    Resources, Result, Signal,
};

/// One container of an agent.
#[derive(Clone, Debug)]
pub(crate) struct AgentContainer {
    id: ContainerId,
    client: Client,
    life: Arc<Life>,
}

impl AgentContainer {
    pub(super) fn new(id: ContainerId, client: Client, life: Arc<Life>) -> Self {
        Self { id, client, life }
    }

    /// Its id.
    pub(crate) fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Its life.
    pub(crate) fn life(&self) -> &Arc<Life> {
        &self.life
    }

    /// Lets its first process run.
    pub(crate) async fn start(&self) -> Result<()> {
        self.client
            .start_container(&self.id.0)
            .await
            .map_err(refused)?;
        self.life.started();
        Ok(())
    }

    /// Runs another process in it.
    pub(crate) async fn exec(&self, spec: ExecSpec) -> Result<Process> {
        if spec.args.is_empty() {
            return Err(Error::new(Kind::Invalid, "exec without a program"));
        }
        let start = translate::exec(&self.id, &spec);
        let session = self.client.exec(start).await.map_err(refused)?;
        Ok(streams::process(session, &spec))
    }

    /// Joins the streams of its first process.
    pub(crate) async fn attach(&self, spec: ExecSpec) -> Result<Process> {
        let start = translate::attach(&self.id, &spec);
        let session = self.client.attach(start).await.map_err(refused)?;
        Ok(streams::process(session, &spec))
    }

    /// Signals its first process; [`Signal::KILL`] reaches all of it. One that has ended is past it.
    pub(crate) async fn signal(&self, signal: Signal) -> Result<()> {
        if self.life.status().exit.is_some() {
            return Ok(());
        }
        let request = v1::SignalContainerRequest {
            container_id: self.id.0.clone(),
            signal: signal.0,
            all: signal == Signal::KILL,
        };
        self.client.signal_container(request).await.map_err(refused)
    }

    /// Changes its limits.
    pub(crate) async fn update(&self, resources: &Resources) -> Result<()> {
        let request = v1::UpdateContainerRequest {
            container_id: self.id.0.clone(),
            resources: Some(resources::to_agent(resources)),
        };
        self.client.update_container(request).await.map_err(refused)
    }

    /// What it uses.
    pub(crate) async fn stats(&self) -> Result<ContainerStats> {
        let told = self
            .client
            .container_stats(Some(&self.id.0))
            .await
            .map_err(refused)?;
        let stats = told
            .into_iter()
            .find(|stats| stats.container_id == self.id.0);
        stats.map(|stats| from_agent(&stats)).ok_or_else(|| {
            let doing = format!("read stats of container {}", self.id);
            Error::new(Kind::NotFound, doing)
        })
    }

    /// What is known of it now.
    pub(crate) fn status(&self) -> ContainerStatus {
        self.life.status()
    }

    /// Resolves when it has ended.
    pub(crate) async fn wait(&self) -> ContainerExit {
        self.life.exit().await
    }
}

fn from_agent(told: &v1::ContainerStats) -> ContainerStats {
    ContainerStats {
        at: match told.timestamp_ns {
            0 => SystemTime::now(),
            ns => told_time(ns),
        },
        cpu_usage_ns: told.cpu_usage_ns,
        memory_usage_bytes: told.memory_usage_bytes,
        memory_working_set_bytes: told.memory_working_set_bytes,
        memory_rss_bytes: told.memory_rss_bytes,
        page_faults: told.page_faults,
        major_page_faults: told.major_page_faults,
        swap_usage_bytes: told.swap_usage_bytes,
        pids: told.pids,
        writable_bytes: told.disk_usage_bytes,
        writable_inodes: told.disk_inodes,
    }
}
