//! `ListPodSandboxStats`: what all pods use.

use std::sync::Arc;
use std::time::Duration;

use cri_api::v1::{
    ListPodSandboxStatsRequest, ListPodSandboxStatsResponse, PodSandboxStats, PodSandboxStatsFilter,
};
use futures::future::join_all;

use crate::CriServer;
use crate::error::Result;
use crate::pods::PodState;
use crate::runtime::list_pod_sandbox::has_labels;
use crate::runtime::pod_sandbox_stats::measure;

/// A sandbox that does not answer does not hold up the others.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn list_pod_sandbox_stats(
    server: Arc<CriServer>,
    request: ListPodSandboxStatsRequest,
) -> Result<ListPodSandboxStatsResponse> {
    Ok(ListPodSandboxStatsResponse {
        stats: list(&server, &request.filter.unwrap_or_default()).await?,
    })
}

/// Stats of the ready pods that a filter lets through; who can't be measured is left out.
pub(super) async fn list(
    server: &CriServer,
    filter: &PodSandboxStatsFilter,
) -> Result<Vec<PodSandboxStats>> {
    let mut pods = match filter.id.as_str() {
        "" => server.pods.all(),
        id => server.pods.find(id)?.into_iter().collect(),
    };
    pods.retain(|pod| {
        let record = pod.record.get();
        record.state == PodState::Ready && has_labels(&record.labels, &filter.label_selector)
    });
    let measured = pods
        .iter()
        .map(|pod| tokio::time::timeout(TIMEOUT, measure(server, pod)));
    let measured = join_all(measured).await.into_iter();
    Ok(measured.filter_map(|stats| stats.ok()?.ok()).collect())
}
