//! Watchers: one task per sandbox and per container, which note how it ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sandbox::{ContainerExit, ContainerStatus, Sandbox, SandboxExit};
use tracing::{info, warn};

use crate::CriServer;
use crate::clock::{now_ns, to_ns};
use crate::containers::{Container, ContainerEvent, ContainerState, SavedContainer, SavedExit};
use crate::pods::{Pod, PodEvent, PodState};

/// How long containers of a dead sandbox may take to tell how they ended themselves.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Exit code of containers of which nobody can tell how they ended.
const LOST: u8 = 255;

/// Notes the end of a container, whenever it comes.
pub(crate) fn container(server: &Arc<CriServer>, container: &Arc<Container>) {
    let Some(workload) = container.workload.get().cloned() else {
        return;
    };
    let (server, container) = (server.clone(), container.clone());
    tokio::spawn(async move {
        let exit = workload.wait().await;
        info!(
            container_id = %container.id,
            code = exit.code,
            oom_killed = exit.oom_killed,
            message = exit.message,
            "container has ended"
        );
        if exit.oom_killed {
            server
                .metrics
                .out_of_memory(&handler_of(&server, &container));
        }
        let not_started = container.start_error.get().cloned();
        let exit = not_started.unwrap_or_else(|| saved(&exit));
        container.record.observe(|record| record.end(exit)).await;
    });
}

fn handler_of(server: &CriServer, container: &Container) -> String {
    let pod = server.pods.find(&container.pod.0).ok().flatten();
    let asked = pod.map(|pod| pod.record.get().handler.clone());
    server.handlers.name(&asked.unwrap_or_default()).to_owned()
}

/// Notes what happened to a container while nobody watched.
pub(crate) async fn catch_up(container: &Container, now: &ContainerStatus) {
    let record = container.record.get();
    let started = now.started_at.is_some() && record.state == ContainerState::Created;
    let ended = now.exit.is_some() && !has_ended(&record);
    if !started && !ended {
        return;
    }
    let note = |record: &mut SavedContainer| {
        if started && record.apply(ContainerEvent::Started).is_ok() {
            record.started_at_ns = now.started_at.map_or(0, to_ns);
        }
        if let Some(exit) = &now.exit {
            record.end(saved(exit));
        }
    };
    container.record.observe(note).await;
}

/// Notes how a container ended while nobody watched.
pub(crate) async fn ended(container: &Container, exit: &ContainerExit) {
    if !has_ended(&container.record.get()) {
        container
            .record
            .observe(|record| record.end(saved(exit)))
            .await;
    }
}

/// Notes the end of a sandbox, whenever it comes, and that of what was in it.
pub(crate) fn pod(server: &Arc<CriServer>, pod: &Arc<Pod>, sandbox: &Arc<dyn Sandbox>) {
    let (server, pod, sandbox) = (server.clone(), pod.clone(), sandbox.clone());
    tokio::spawn(async move {
        let exit = sandbox.wait().await;
        let expected = exit.asked || pod.stopping.load(Ordering::Acquire);
        if expected {
            info!(pod_id = %pod.id, "sandbox has ended");
        } else {
            warn!(pod_id = %pod.id, reason = exit.message, "sandbox has died");
            let asked = pod.record.get().handler.clone();
            server.metrics.died(server.handlers.name(&asked));
        }
        over(&pod, if expected { "" } else { &exit.message }).await;
        end_containers(&server, &pod, &exit).await;
    });
}

/// Notes that a pod is not ready any more, and why. The first account stands.
pub(crate) async fn over(pod: &Pod, reason: &str) {
    let note = |record: &mut crate::pods::SavedPod| {
        if record.state == PodState::Ready {
            record.reason = reason.to_string();
        }
        // Only a pod that is being made could refuse, and nobody watches one.
        let _ = record.apply(PodEvent::Over);
    };
    if pod.record.get().state == PodState::Ready {
        pod.record.observe(note).await;
    }
}

/// Sees to it that no container of a sandbox that is gone counts as alive.
async fn end_containers(server: &CriServer, pod: &Pod, exit: &SandboxExit) {
    let message = match exit.message.as_str() {
        "" => "its pod was stopped".to_string(),
        why => format!("its pod's sandbox ended: {why}"),
    };
    end_all(server, pod, &message).await;
}

/// Waits a little for containers to tell how they ended, then speaks for those that do not.
pub(crate) async fn end_all(server: &CriServer, pod: &Pod, message: &str) {
    let containers = server.containers.of(&pod.id);
    let ends = containers.iter().map(|container| async move {
        let ended = container.record.wait_until(has_ended);
        if tokio::time::timeout(LAST_WORDS, ended).await.is_err() {
            lose(container, message).await;
        }
    });
    futures::future::join_all(ends).await;
}

/// Notes that nobody can tell how a container ended.
pub(crate) async fn lose(container: &Container, message: &str) {
    let exit = SavedExit {
        code: LOST,
        reason: "Unknown".into(),
        message: message.to_string(),
        finished_at_ns: now_ns(),
    };
    container.record.observe(|record| record.end(exit)).await;
}

/// Whether a container will not run any more.
pub(crate) fn has_ended(record: &SavedContainer) -> bool {
    matches!(
        record.state,
        ContainerState::Exited | ContainerState::Removing
    )
}

fn saved(exit: &ContainerExit) -> SavedExit {
    let reason = match exit {
        ContainerExit {
            oom_killed: true, ..
        } => "OOMKilled",
        ContainerExit { code: 0, .. } => "Completed",
        _ => "Error",
    };
    SavedExit {
        code: exit.code,
        reason: reason.to_string(),
        message: exit.message.clone(),
        finished_at_ns: to_ns(exit.finished_at),
    }
}
