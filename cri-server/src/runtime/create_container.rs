//! `CreateContainer`: image, node, sandbox, record; then the container is listed.

use std::sync::Arc;

use cri_api::v1::{ContainerConfig, CreateContainerRequest, CreateContainerResponse};
use image_service::Image;
use sandbox::{Container as Workload, ContainerId, ContainerSpec, Kind};

use crate::clock::now_ns;
use crate::container_spec::{ContainerPlan, LogPath};
use crate::containers::{
    Container, ContainerEvent, ContainerKey, ContainerState, SavedContainer, SavedUser,
};
use crate::error::{Doing, Error, Result};
use crate::in_flight::Fingerprint;
use crate::kept::Kept;
use crate::pods::Pod;
use crate::rollback::Rollback;
use crate::{CriServer, events, identifier, watch};

mod fingerprint;
mod image_name;
mod provide;

pub(crate) use provide::{give_back, held};

/// Which container, for the log.
pub(super) fn subject(request: &CreateContainerRequest) -> String {
    let metadata = request
        .config
        .as_ref()
        .and_then(|config| config.metadata.as_ref());
    let name = metadata
        .map(|container| container.name.as_str())
        .unwrap_or_default();
    format!("{}/{name}", request.pod_sandbox_id)
}

pub(super) async fn create_container(
    server: Arc<CriServer>,
    request: CreateContainerRequest,
) -> Result<CreateContainerResponse> {
    let pod = server.pods.get(&request.pod_sandbox_id)?;
    let config = request.config;
    let config = config.ok_or_else(|| Error::invalid("the request has no container config"))?;
    let key = key(&pod, &config)?;
    let print = fingerprint::fingerprint(&config);
    let existing = || existing(&server, &key, &print);
    let make = || make(server.clone(), pod, key.clone(), config, print.clone());
    let id = server
        .container_calls
        .join(key.clone(), print.clone(), existing, make)
        .await?;
    Ok(CreateContainerResponse { container_id: id.0 })
}

fn key(pod: &Pod, config: &ContainerConfig) -> Result<ContainerKey> {
    let metadata = config.metadata.as_ref();
    let metadata =
        metadata.ok_or_else(|| Error::invalid("the container config has no metadata"))?;
    if metadata.name.is_empty() {
        return Err(Error::invalid(
            "metadata.name of the container config is empty",
        ));
    }
    Ok(ContainerKey {
        pod: pod.id.clone(),
        name: metadata.name.clone(),
        attempt: metadata.attempt,
    })
}

/// The answer to a retry whose first try succeeded, or to a clash of names.
fn existing(server: &CriServer, key: &ContainerKey, print: &str) -> Option<Result<ContainerId>> {
    let container = server.containers.named(key)?;
    let record = container.record.get();
    if record.fingerprint == print && record.state == ContainerState::Created {
        return Some(Ok(container.id.clone()));
    }
    let (id, state) = (&container.id, record.state);
    let message =
        format!("{key} exists already and is {state}: remove it ({id}), or use another attempt");
    Some(Err(Error::new(Kind::AlreadyExists, message)))
}

async fn make(
    server: Arc<CriServer>,
    pod: Arc<Pod>,
    key: ContainerKey,
    config: ContainerConfig,
    print: Fingerprint,
) -> Result<ContainerId> {
    let _resident = pod.residents.read().await;
    // Before anything is made, and for a message that says so.
    pod.sandbox()?;
    let image = find_image(&server, &config)?;
    let plan = plan(&server, &pod, &config, &image)?;
    let id = ContainerId(identifier::random()?);
    let saved = saved(id, key, &config, &plan, &image, print);
    let mut undo = Rollback::default();
    let result = steps(&server, &pod, plan, saved, &image, config, &mut undo).await;
    undo.settle(result).await
}

fn find_image(server: &CriServer, config: &ContainerConfig) -> Result<Arc<Image>> {
    let name = config
        .image
        .as_ref()
        .map(|spec| spec.image.as_str())
        .unwrap_or_default();
    if name.is_empty() {
        return Err(Error::invalid("the container config names no image"));
    }
    server.images.find(name).ok_or_else(|| {
        Error::new(
            Kind::NotFound,
            format!("image {name} is not on this node; pull it first"),
        )
    })
}

fn plan(
    server: &CriServer,
    pod: &Pod,
    config: &ContainerConfig,
    image: &Image,
) -> Result<ContainerPlan> {
    let record = pod.record.get();
    let features = server.handlers.get(&record.handler)?.features();
    let rlimits = server.config.containers.rlimits();
    let plan = ContainerPlan::new(config, &record, &image.config, &features, &rlimits)?;
    match plan.pid_target() {
        None => Ok(plan),
        Some(target) => {
            let target = server.containers.get(&target.0)?;
            if target.pod != pod.id {
                let message = format!("target_id: container {} is in another pod", target.id);
                return Err(Error::invalid(message));
            }
            target.running()?;
            Ok(plan.with_pid_target(target.id.clone()))
        }
    }
}

fn saved(
    id: ContainerId,
    key: ContainerKey,
    config: &ContainerConfig,
    plan: &ContainerPlan,
    image: &Image,
    fingerprint: Fingerprint,
) -> SavedContainer {
    SavedContainer {
        id,
        pod: key.pod,
        name: key.name,
        attempt: key.attempt,
        state: ContainerState::Creating,
        fingerprint,
        created_at_ns: now_ns(),
        started_at_ns: 0,
        exit: None,
        image: image_name::saved(config.image.as_ref(), image),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        mounts: plan
            .mounts
            .iter()
            .map(|mount| mount.saved.clone())
            .collect(),
        log_path: plan.log.as_ref().map(LogPath::path),
        resources: plan.resources.clone(),
        stop_signal: plan.stop_signal,
        user: None,
        terminal: config.tty,
        stdin: config.stdin,
    }
}

async fn steps(
    server: &Arc<CriServer>,
    pod: &Arc<Pod>,
    plan: ContainerPlan,
    mut saved: SavedContainer,
    image: &Image,
    config: ContainerConfig,
    undo: &mut Rollback,
) -> Result<ContainerId> {
    // In the database before anything is made: after a crash, what is half made is found by it.
    server.state.put(&saved).await?;
    let (state, id) = (server.state.clone(), saved.id.0.clone());
    undo.on_failure("forget the container", async move {
        state.delete::<SavedContainer>(&id).await
    });
    let found = provide::found(server, pod, &plan, &mut saved, image, config, undo).await?;
    let spec = plan.into_spec(saved.id.clone(), found);
    let workload = make_workload(pod, spec, undo).await?;
    saved.user = user(&*workload).await?;
    saved.apply(ContainerEvent::Made)?;
    let kept = Kept::create(&server.state, saved).await?;
    publish(server, pod, Container::new(kept, Some(workload)))
}

async fn make_workload(
    pod: &Pod,
    spec: ContainerSpec,
    undo: &mut Rollback,
) -> Result<Arc<dyn Workload>> {
    let workload = pod
        .sandbox()?
        .create_container(spec)
        .await
        .doing("make the container")?;
    let made = workload.clone();
    undo.on_failure("remove the container", async move { made.remove().await });
    Ok(workload)
}

async fn user(workload: &dyn Workload) -> Result<Option<SavedUser>> {
    let (uid, gid, groups) = workload.status().await?.user;
    Ok(Some(SavedUser { uid, gid, groups }))
}

/// Lists the container, unless its pod was stopped meanwhile. Whoever stops a pod says so first and
/// looks for containers afterwards, so one of the two sees the other.
fn publish(server: &Arc<CriServer>, pod: &Pod, container: Container) -> Result<ContainerId> {
    let container = Arc::new(container);
    let id = container.id.clone();
    server.containers.insert(container.clone());
    if let Err(error) = pod.sandbox() {
        server.containers.remove(&id);
        return Err(error);
    }
    events::container(server, &container);
    watch::container(server, &container);
    Ok(id)
}
