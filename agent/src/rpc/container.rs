//! The short calls about containers.

use std::sync::Arc;

use agent_api::v1::{
    ContainerRequest, ContainerStatsReply, CreateContainerReply, CreateContainerRequest, Empty,
    ListContainersReply, ListContainersRequest, SignalContainerRequest, UpdateContainerRequest,
};

use crate::Error;
use crate::agent::Agent;
use crate::container::signal::Whom;
use crate::stats;

pub(super) async fn create(
    agent: Arc<Agent>,
    request: CreateContainerRequest,
) -> Result<CreateContainerReply, Error> {
    let container = agent.create(request).await?;
    let identity = &container.identity;
    tracing::info!(
        container_id = container.id,
        pid = container.pid,
        "container created"
    );
    Ok(CreateContainerReply {
        pid: container.pid,
        uid: identity.uid,
        gid: identity.gid,
        groups: identity.groups.clone(),
    })
}

pub(super) async fn start(agent: Arc<Agent>, request: ContainerRequest) -> Result<Empty, Error> {
    let container = agent.container(&request.container_id)?;
    container.start().await?;
    tracing::info!(container_id = container.id, "container started");
    Ok(Empty {})
}

pub(super) async fn signal(
    agent: Arc<Agent>,
    request: SignalContainerRequest,
) -> Result<Empty, Error> {
    let whom = if request.all { Whom::All } else { Whom::First };
    agent
        .container(&request.container_id)?
        .signal(request.signal, whom)?;
    Ok(Empty {})
}

pub(super) async fn update(
    agent: Arc<Agent>,
    request: UpdateContainerRequest,
) -> Result<Empty, Error> {
    let container = agent.container(&request.container_id)?;
    container
        .cgroup
        .limit(&request.resources.unwrap_or_default())?;
    Ok(Empty {})
}

pub(super) async fn remove(agent: Arc<Agent>, request: ContainerRequest) -> Result<Empty, Error> {
    agent.remove(&request.container_id).await?;
    Ok(Empty {})
}

pub(super) fn list(agent: &Agent, request: &ListContainersRequest) -> ListContainersReply {
    let containers = agent.containers(&request.container_id);
    ListContainersReply {
        containers: containers.iter().map(|c| c.status()).collect(),
    }
}

pub(super) async fn stats(agent: &Agent, request: &ListContainersRequest) -> ContainerStatsReply {
    let mut reply = ContainerStatsReply::default();
    for container in agent.containers(&request.container_id) {
        reply.containers.push(stats::of(&container).await);
    }
    reply
}

pub(super) fn reopen_log(agent: &Agent, request: &ContainerRequest) -> Result<Empty, Error> {
    agent
        .container(&request.container_id)?
        .streams
        .log
        .reopen()?;
    Ok(Empty {})
}
