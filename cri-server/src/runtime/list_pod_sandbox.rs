//! `ListPodSandbox`: the kubelet asks every second.

use std::collections::BTreeMap;
use std::sync::Arc;

use cri_api::v1::{
    ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox, PodSandboxFilter, PodSandboxState,
};

use crate::CriServer;
use crate::error::Result;
use crate::pods::{PodState, SavedPod};

pub(super) async fn list_pod_sandbox(
    server: Arc<CriServer>,
    request: ListPodSandboxRequest,
) -> Result<ListPodSandboxResponse> {
    Ok(ListPodSandboxResponse {
        items: list(&server, &request.filter.unwrap_or_default())?,
    })
}

/// Pods that a filter lets through, the youngest first.
pub(super) fn list(server: &CriServer, filter: &PodSandboxFilter) -> Result<Vec<PodSandbox>> {
    let pods = match filter.id.as_str() {
        "" => server.pods.all(),
        id => server.pods.find(id)?.into_iter().collect(),
    };
    let mut records: Vec<_> = pods.iter().map(|pod| pod.record.get()).collect();
    records.retain(|pod| {
        let wanted = filter
            .state
            .as_ref()
            .is_none_or(|wanted| wanted.state() == state(pod));
        wanted && has_labels(&pod.labels, &filter.label_selector)
    });
    records.sort_by_key(|pod| std::cmp::Reverse(pod.created_at_ns));
    Ok(records.iter().map(|pod| listed(pod)).collect())
}

/// As CRI knows it.
pub(super) fn state(pod: &SavedPod) -> PodSandboxState {
    match pod.state {
        PodState::Ready => PodSandboxState::SandboxReady,
        _ => PodSandboxState::SandboxNotready,
    }
}

/// Whether all labels of `selector` are there with their values.
pub(super) fn has_labels(
    labels: &BTreeMap<String, String>,
    selector: &BTreeMap<String, String>,
) -> bool {
    selector
        .iter()
        .all(|(name, value)| labels.get(name) == Some(value))
}

fn listed(pod: &SavedPod) -> PodSandbox {
    PodSandbox {
        id: pod.id.0.clone(),
        metadata: Some((&pod.key).into()),
        state: state(pod).into(),
        created_at: pod.created_at_ns,
        labels: pod.labels.clone(),
        annotations: pod.annotations.clone(),
        runtime_handler: pod.handler.clone(),
    }
}
