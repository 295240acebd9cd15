//! `ListContainerStats`: what all containers use.

use std::sync::Arc;
use std::time::Duration;

use cri_api::v1::{
    ContainerStats, ContainerStatsFilter, ListContainerStatsRequest, ListContainerStatsResponse,
};
use futures::future::join_all;
use tracing::debug;

use crate::CriServer;
use crate::containers::{Container, ContainerState};
use crate::error::{Result, chain};
use crate::runtime::container_stats::measure;
use crate::runtime::list_containers::select;
use crate::runtime::list_pod_sandbox::has_labels;

/// A sandbox that does not answer does not hold up the others.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn list_container_stats(
    server: Arc<CriServer>,
    request: ListContainerStatsRequest,
) -> Result<ListContainerStatsResponse> {
    Ok(ListContainerStatsResponse {
        stats: list(&server, &request.filter.unwrap_or_default()).await?,
    })
}

/// Stats of the running containers that a filter lets through.
pub(super) async fn list(
    server: &CriServer,
    filter: &ContainerStatsFilter,
) -> Result<Vec<ContainerStats>> {
    let mut containers = select(server, &filter.id, &filter.pod_sandbox_id)?;
    containers.retain(|container| {
        let record = container.record.get();
        record.state == ContainerState::Running
            && has_labels(&record.labels, &filter.label_selector)
    });
    measure_all(server, &containers).await
}

/// Leaves out who can't be measured: it has just ended, or its sandbox hangs.
pub(super) async fn measure_all(
    server: &CriServer,
    containers: &[Arc<Container>],
) -> Result<Vec<ContainerStats>> {
    let measured = containers.iter().map(|container| async move {
        match tokio::time::timeout(TIMEOUT, measure(server, container)).await {
            Ok(Ok(stats)) => Some(stats),
            Ok(Err(error)) => {
                debug!(container_id = %container.id, error = chain(&error), "no stats");
                None
            }
            Err(_) => {
                debug!(container_id = %container.id, "no stats in time");
                None
            }
        }
    });
    Ok(join_all(measured).await.into_iter().flatten().collect())
}
