//! `StopPodSandbox`: stop everything in the sandbox, then give its network back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cri_api::v1::{StopPodSandboxRequest, StopPodSandboxResponse};
use sandbox::{Kind, Sandbox};

use crate::error::{Doing, Error, Result};
use crate::pods::Pod;
use crate::{CriServer, readopt, watch};

/// Idempotent: the kubelet retries until it succeeds, so an unknown pod counts as stopped.
pub(super) async fn stop_pod_sandbox(
    server: Arc<CriServer>,
    request: StopPodSandboxRequest,
) -> Result<StopPodSandboxResponse> {
    if let Some(pod) = server.pods.find(&request.pod_sandbox_id)? {
        // A retry waits for the call under way, then finds everything done.
        let _one_at_a_time = pod.lifecycle.lock().await;
        stop(&server, &pod).await?;
    }
    Ok(StopPodSandboxResponse {})
}

/// Stops a pod whose lifecycle the caller holds.
pub(crate) async fn stop(server: &Arc<CriServer>, pod: &Arc<Pod>) -> Result<()> {
    pod.stopping.store(true, Ordering::Release);
    // First of all: from here on no container is made in it.
    watch::over(pod, "").await;
    if let Err(error) = readopt::take_back(server, pod).await {
        readopt::discard(server, pod, &error).await?;
    }
    if let Some(sandbox) = pod.sandbox.get() {
        let limit = Duration::from_secs(server.config.stop_timeout_s);
        stop_sandbox(pod, sandbox.clone(), limit).await?;
    }
    watch::end_all(server, pod, "its pod was stopped").await;
    let network = pod.record.get().network.clone();
    server.network.release(&pod.id, &network).await?;
    Ok(())
}

/// Waits at most `limit` for the sandbox to stop. It is stopped in a task of its own, which a retry joins:
/// begun anew each time, it might never come to killing what does not listen.
async fn stop_sandbox(pod: &Pod, sandbox: Arc<dyn Sandbox>, limit: Duration) -> Result<()> {
    let mut under_way = pod.stop.lock().await;
    // CRI: what still runs is terminated by force; the kubelet has asked nicely before.
    let begin = || tokio::spawn(async move { sandbox.stop(Duration::ZERO).await });
    let stopped = tokio::time::timeout(limit, under_way.get_or_insert_with(begin)).await;
    let ended = stopped.map_err(|_| still_stopping(pod, limit))?;
    *under_way = None;
    let doing = format!("stop pod {}", pod.id);
    match ended {
        Ok(stopped) => stopped.doing(doing),
        Err(panic) => Err(Error::caused(Kind::Internal, doing, panic)),
    }
}

fn still_stopping(pod: &Pod, limit: Duration) -> Error {
    Error::new(
        Kind::TimedOut,
        format!(
            "pod {} has not stopped after {limit:?}; it goes on being stopped",
            pod.id
        ),
    )
}
