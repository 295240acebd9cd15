//! After a restart: read what we knew, take back what still runs, note what ended meanwhile, remove
//! what was half made. Only then the server listens.
//!
//! After a reboot nothing can run any more, so nobody is asked.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use image_service::ImageId;
use sandbox::{Adopted, ContainerExit, ContainerId, Kind, SandboxId};
use tracing::{info, warn};

use crate::containers::{Container, ContainerState, SavedContainer};
use crate::error::{Doing, Error, Result, chain};
use crate::kept::Kept;
use crate::pods::{Pod, PodState, SavedPod};
use crate::runtime::create_container::held;
use crate::runtime::{remove_container, remove_pod_sandbox};
use crate::{CriServer, events, watch};

mod leftovers;

/// What is in the database, by what becomes of it.
#[derive(Default)]
struct Found {
    pods: Vec<SavedPod>,
    containers: Vec<SavedContainer>,
    half_made_pods: Vec<SavedPod>,
    half_made_containers: Vec<SavedContainer>,
}

/// Brings a new server to where the last one was.
pub(crate) async fn readopt(server: &Arc<CriServer>) -> Result<()> {
    let found = load(server).await?;
    let rebooted = note_boot(server).await?;
    enter(server, &found);
    if rebooted {
        lose_all(server).await;
    } else {
        let pods = server.pods.all();
        join_all(pods.iter().map(|pod| take_back_or_lose(server, pod))).await;
    }
    undo_half_made(server, &found).await;
    sweep(server).await?;
    watch_all(server);
    finish_removals(server);
    info!(
        pods = found.pods.len(),
        containers = found.containers.len(),
        half_made = found.half_made_pods.len() + found.half_made_containers.len(),
        rebooted,
        "state is taken back"
    );
    Ok(())
}

/// Takes back the sandbox of a pod that is thought to live and that we are not connected to.
pub(crate) async fn take_back(server: &Arc<CriServer>, pod: &Arc<Pod>) -> Result<()> {
    let record = pod.record.get();
    let (None, Some(saved)) = (pod.sandbox.get(), record.sandbox.clone()) else {
        return Ok(());
    };
    let adopted = server.handlers.get(&record.handler)?.adopt(saved);
    let limit = Duration::from_secs(server.config.adopt_timeout_s);
    let sandbox = match tokio::time::timeout(limit, adopted).await {
        Ok(Ok(Adopted::Living(sandbox))) => sandbox,
        Ok(Ok(Adopted::Ended(exits))) => return bury(server, pod, &exits).await,
        Ok(Err(error)) => return Err(error).doing(format!("take back pod {}", pod.id)),
        Err(_) => {
            let message = format!("pod {} does not answer within {limit:?}", pod.id);
            return Err(Error::new(Kind::TimedOut, message));
        }
    };
    let containers = server.containers.of(&pod.id);
    join_all(
        containers
            .iter()
            .map(|container| take_back_container(&*sandbox, container)),
    )
    .await;
    // Somebody else may have been faster; both have the same.
    pod.sandbox.set(sandbox).ok();
    Ok(())
}

/// Notes what is known of a sandbox that ended meanwhile, and only then removes what is left of it.
async fn bury(server: &CriServer, pod: &Pod, exits: &[(ContainerId, ContainerExit)]) -> Result<()> {
    for container in server.containers.of(&pod.id) {
        if let Some((_, exit)) = exits.iter().find(|(id, _)| *id == container.id) {
            watch::ended(&container, exit).await;
        }
    }
    remove_left(server, pod).await
}

/// Ends a pod that can't be taken back because of `error`, without its help.
pub(crate) async fn discard(server: &CriServer, pod: &Pod, error: &Error) -> Result<()> {
    warn!(pod_id = %pod.id, error = chain(error), "pod can't be taken back, and is killed");
    remove_left(server, pod).await
}

async fn remove_left(server: &CriServer, pod: &Pod) -> Result<()> {
    let handler = server.handlers.get(&pod.record.get().handler)?;
    let discarded = handler.discard(&pod.id).await;
    discarded.doing(format!("kill pod {}", pod.id))?;
    forget_sandbox(pod).await;
    Ok(())
}

async fn take_back_container(sandbox: &dyn sandbox::Sandbox, container: &Container) {
    let adopted = match sandbox.adopt_container(&container.id).await {
        Ok(workload) => workload.status().await.map(|status| (workload, status)),
        Err(error) => Err(error),
    };
    match adopted {
        Ok((workload, status)) => {
            container.workload.set(workload).ok();
            watch::catch_up(container, &status).await;
        }
        Err(error) => {
            warn!(container_id = %container.id, error = chain(&error), "container is lost");
            watch::lose(
                container,
                "nothing was left of it after a restart of the runtime",
            )
            .await;
        }
    }
}

async fn load(server: &CriServer) -> Result<Found> {
    let mut found = Found::default();
    for pod in server.state.load::<SavedPod>().await? {
        match pod.state {
            PodState::Creating => found.half_made_pods.push(pod),
            _ => found.pods.push(pod),
        }
    }
    let whole: BTreeSet<_> = found.pods.iter().map(|pod| pod.id.clone()).collect();
    for container in server.state.load::<SavedContainer>().await? {
        match container.state {
            ContainerState::Creating => found.half_made_containers.push(container),
            _ if !whole.contains(&container.pod) => found.half_made_containers.push(container),
            _ => found.containers.push(container),
        }
    }
    Ok(found)
}

/// Whether the node was rebooted since the last start.
async fn note_boot(server: &CriServer) -> Result<bool> {
    let boot = tokio::fs::read_to_string("/proc/sys/kernel/random/boot_id").await;
    let boot = boot.map_err(|error| Error::caused(Kind::Internal, "read the boot id", error))?;
    let last = server.state.fact("boot").await?;
    let rebooted = last.is_some_and(|last| last != boot);
    server.state.set_fact("boot", boot).await?;
    Ok(rebooted)
}

fn enter(server: &CriServer, found: &Found) {
    for pod in &found.pods {
        let record = Kept::loaded(&server.state, pod.clone());
        server.pods.insert(Arc::new(Pod::new(record, None)));
    }
    for container in &found.containers {
        let record = Kept::loaded(&server.state, container.clone());
        server
            .containers
            .insert(Arc::new(Container::new(record, None)));
    }
}

async fn lose_all(server: &CriServer) {
    for pod in server.pods.all() {
        forget_sandbox(&pod).await;
        watch::over(&pod, "the node was rebooted").await;
    }
    let alive = server.containers.all().into_iter();
    for container in alive.filter(|container| !watch::has_ended(&container.record.get())) {
        watch::lose(&container, "the node was rebooted").await;
    }
}

/// There is nothing to take back any more.
async fn forget_sandbox(pod: &Pod) {
    pod.record.observe(|record| record.sandbox = None).await;
}

async fn take_back_or_lose(server: &Arc<CriServer>, pod: &Arc<Pod>) {
    if pod.record.get().state != PodState::Ready {
        // Stopped before: what is left of its sandbox is swept.
        forget_sandbox(pod).await;
        return lose_containers(server, pod, "its pod was stopped").await;
    }
    match take_back(server, pod).await {
        Ok(()) if pod.sandbox.get().is_some() => {}
        Ok(()) => {
            let reason = "its sandbox ended while the runtime was not running";
            watch::over(pod, reason).await;
            lose_containers(server, pod, reason).await;
        }
        Err(error) => {
            // It may live; stopping the pod tries again.
            warn!(pod_id = %pod.id, error = chain(&error), "pod can't be taken back");
            let reason = format!("it can't be taken back: {}", chain(&error));
            watch::over(pod, &reason).await;
            lose_containers(server, pod, &reason).await;
        }
    }
}

async fn lose_containers(server: &CriServer, pod: &Pod, why: &str) {
    let containers = server.containers.of(&pod.id).into_iter();
    for container in containers.filter(|container| !watch::has_ended(&container.record.get())) {
        watch::lose(&container, why).await;
    }
}

/// No leftover may keep the server from starting: what can't be undone now is tried at the next start.
async fn undo_half_made(server: &Arc<CriServer>, found: &Found) {
    let containers = found.half_made_containers.iter();
    join_all(containers.map(|container| async move {
        match leftovers::undo_container(server, container).await {
            Ok(()) => info!(container_id = %container.id, "half-made container is removed"),
            Err(error) => {
                warn!(container_id = %container.id, error = chain(&error), "half-made container stays until the next start");
            }
        }
    }))
    .await;
    for pod in &found.half_made_pods {
        match server.state.delete::<SavedPod>(&pod.id.0).await {
            // Its sandbox and its network are swept, as all that nobody knows.
            Ok(()) => info!(pod_id = %pod.id, "half-made pod is removed"),
            Err(error) => {
                warn!(pod_id = %pod.id, error = chain(&error), "half-made pod stays until the next start");
            }
        }
    }
}

/// Removes what nobody knows any more, whatever it was left by.
async fn sweep(server: &CriServer) -> Result<()> {
    let pods = server.pods.all();
    let living: Vec<SandboxId> = pods
        .iter()
        .filter(|pod| pod.record.get().sandbox.is_some())
        .map(|pod| pod.id.clone())
        .collect();
    for (name, sandboxer) in server.handlers.all() {
        if let Err(error) = sandboxer.sweep(&living).await {
            warn!(
                handler = name,
                error = chain(&error),
                "leftovers stay until the next start"
            );
        }
    }
    let known: BTreeSet<_> = pods.iter().map(|pod| pod.id.clone()).collect();
    server.network.sweep(&known);
    let holds: HashSet<_> = server
        .containers
        .all()
        .iter()
        .flat_map(|c| holds(c))
        .collect();
    if let Err(error) = server.images.retain(&holds).await {
        warn!(
            error = chain(&error),
            "images that nobody holds stay until the next start"
        );
    }
    leftovers::sweep_directories(server).await
}

/// The images that a container holds, each with its holder.
fn holds(container: &Container) -> Vec<(ImageId, String)> {
    let images = held(&container.record.get()).into_iter();
    images
        .map(|image| (image, container.id.0.clone()))
        .collect()
}

fn watch_all(server: &Arc<CriServer>) {
    for pod in server.pods.all() {
        events::pod(server, &pod);
        if let Some(sandbox) = pod.sandbox.get() {
            watch::pod(server, &pod, sandbox);
        }
    }
    for container in server.containers.all() {
        events::container(server, &container);
        if !watch::has_ended(&container.record.get()) {
            watch::container(server, &container);
        }
    }
}

/// What was being removed is removed in the background; the kubelet asks again anyway.
fn finish_removals(server: &Arc<CriServer>) {
    let server = server.clone();
    tokio::spawn(async move {
        for container in server.containers.all() {
            if container.record.get().state == ContainerState::Removing
                && let Err(error) = remove_container::remove(&server, &container).await
            {
                warn!(container_id = %container.id, error = chain(&error), "removal not finished");
            }
        }
        for pod in server.pods.all() {
            if pod.record.get().state == PodState::Removing
                && let Err(error) = remove_pod_sandbox::remove(&server, &pod).await
            {
                warn!(pod_id = %pod.id, error = chain(&error), "removal not finished");
            }
        }
    });
}
