//! `ListContainers`: the kubelet asks every second.

use std::sync::Arc;

use cri_api::v1::{
    Container as Listed, ContainerFilter, ContainerMetadata, ImageSpec, ListContainersRequest,
    ListContainersResponse,
};

use crate::CriServer;
use crate::containers::{Container, SavedContainer};
use crate::error::Result;
use crate::runtime::container_status::state;
use crate::runtime::list_pod_sandbox::has_labels;

pub(super) async fn list_containers(
    server: Arc<CriServer>,
    request: ListContainersRequest,
) -> Result<ListContainersResponse> {
    Ok(ListContainersResponse {
        containers: list(&server, &request.filter.unwrap_or_default())?,
    })
}

/// Containers that a filter lets through, the youngest first.
pub(super) fn list(server: &CriServer, filter: &ContainerFilter) -> Result<Vec<Listed>> {
    let containers = select(server, &filter.id, &filter.pod_sandbox_id)?;
    let mut records: Vec<_> = containers
        .iter()
        .map(|container| container.record.get())
        .collect();
    records.retain(|container| {
        let wanted = filter
            .state
            .as_ref()
            .is_none_or(|wanted| wanted.state() == state(container));
        wanted && has_labels(&container.labels, &filter.label_selector)
    });
    records.sort_by_key(|container| std::cmp::Reverse(container.created_at_ns));
    Ok(records.iter().map(|container| listed(container)).collect())
}

/// Containers by id, by pod, or all of them.
pub(super) fn select(server: &CriServer, id: &str, pod: &str) -> Result<Vec<Arc<Container>>> {
    let mut containers = match id {
        "" => server.containers.all(),
        id => server.containers.find(id)?.into_iter().collect(),
    };
    if !pod.is_empty() {
        let pod = server.pods.find(pod)?;
        containers.retain(|container| pod.as_ref().is_some_and(|pod| pod.id == container.pod));
    }
    Ok(containers)
}

fn listed(container: &SavedContainer) -> Listed {
    Listed {
        id: container.id.0.clone(),
        pod_sandbox_id: container.pod.0.clone(),
        metadata: Some(metadata(container)),
        image: Some(image(container)),
        image_ref: container.image.reference.clone(),
        state: state(container).into(),
        created_at: container.created_at_ns,
        labels: container.labels.clone(),
        annotations: container.annotations.clone(),
        image_id: container.image.id.clone(),
    }
}

/// Its name, as CRI words it.
pub(super) fn metadata(container: &SavedContainer) -> ContainerMetadata {
    ContainerMetadata {
        name: container.name.clone(),
        attempt: container.attempt,
    }
}

/// Its image, as CRI words it.
pub(super) fn image(container: &SavedContainer) -> ImageSpec {
    ImageSpec {
        image: container.image.name.clone(),
        ..ImageSpec::default()
    }
}
