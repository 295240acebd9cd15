//! `ContainerStatus`: all that is known of a container.

use std::collections::BTreeMap;
use std::sync::Arc;

use cri_api::v1::{
    ContainerResources, ContainerState as CriState, ContainerStatus, ContainerStatusRequest,
    ContainerStatusResponse, ContainerUser, ImageSpec, LinuxContainerUser, Mount,
};
use serde_json::json;

use crate::CriServer;
use crate::container_spec::stop_signal_to_cri;
use crate::containers::{Container, ContainerState, SavedContainer, SavedMount, SavedUser};
use crate::error::Result;
use crate::resources;
use crate::runtime::list_containers::{image, metadata};

pub(super) async fn container_status(
    server: Arc<CriServer>,
    request: ContainerStatusRequest,
) -> Result<ContainerStatusResponse> {
    let container = server.containers.get(&request.container_id)?;
    let info = if request.verbose {
        info(&container).await
    } else {
        BTreeMap::new()
    };
    Ok(ContainerStatusResponse {
        status: Some(status(&container.record.get())),
        info,
    })
}

/// As CRI words it.
pub(crate) fn status(container: &SavedContainer) -> ContainerStatus {
    let exit = container.exit.as_ref();
    ContainerStatus {
        id: container.id.0.clone(),
        metadata: Some(metadata(container)),
        state: state(container).into(),
        created_at: container.created_at_ns,
        started_at: container.started_at_ns,
        finished_at: exit.map_or(0, |exit| exit.finished_at_ns),
        exit_code: exit.map_or(0, |exit| exit.code.into()),
        image: Some(image(container)),
        image_ref: container.image.reference.clone(),
        reason: exit.map(|exit| exit.reason.clone()).unwrap_or_default(),
        message: exit.map(|exit| exit.message.clone()).unwrap_or_default(),
        labels: container.labels.clone(),
        annotations: container.annotations.clone(),
        mounts: container.mounts.iter().map(mount).collect(),
        log_path: log_path(container),
        resources: Some(ContainerResources {
            linux: Some(resources::to_cri(&container.resources)),
        }),
        image_id: container.image.id.clone(),
        user: container.user.as_ref().map(user),
        stop_signal: stop_signal_to_cri(container.stop_signal).into(),
    }
}

/// As CRI knows it.
pub(super) fn state(container: &SavedContainer) -> CriState {
    match container.state {
        ContainerState::Creating | ContainerState::Created => CriState::ContainerCreated,
        ContainerState::Running => CriState::ContainerRunning,
        ContainerState::Exited | ContainerState::Removing => CriState::ContainerExited,
    }
}

fn log_path(container: &SavedContainer) -> String {
    let path = container.log_path.as_ref();
    path.map(|path| path.display().to_string())
        .unwrap_or_default()
}

/// As it was asked for; the kubelet finds the termination message by it.
fn mount(mount: &SavedMount) -> Mount {
    let image = mount.image.as_ref();
    Mount {
        container_path: mount.container_path.clone(),
        host_path: mount.host_path.clone(),
        readonly: mount.readonly,
        selinux_relabel: mount.selinux_relabel,
        propagation: mount.propagation,
        recursive_read_only: mount.recursive_read_only,
        image: image.map(|image| ImageSpec {
            image: image.name.clone(),
            image_ref: image.id.clone(),
            ..ImageSpec::default()
        }),
        image_sub_path: image
            .map(|image| image.sub_path.clone())
            .unwrap_or_default(),
        ..Mount::default()
    }
}

fn user(user: &SavedUser) -> ContainerUser {
    ContainerUser {
        linux: Some(LinuxContainerUser {
            uid: user.uid.into(),
            gid: user.gid.into(),
            supplemental_groups: user.groups.iter().map(|group| (*group).into()).collect(),
        }),
    }
}

/// For people who debug.
async fn info(container: &Container) -> BTreeMap<String, String> {
    let record = container.record.get();
    let live = match container.workload.get() {
        Some(workload) => workload.status().await.ok(),
        None => None,
    };
    let info = json!({
        "sandboxID": record.pod,
        "pid": live.and_then(|status| status.pid),
        "image": record.image.id,
        "terminal": record.terminal,
        "stdin": record.stdin,
    });
    [("info".to_string(), info.to_string())].into()
}
