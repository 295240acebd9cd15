//! `RemovePodSandbox`: stop the pod if need be, then remove its containers and all that is left of it.

use std::sync::Arc;
use std::time::Duration;

use cri_api::v1::{RemovePodSandboxRequest, RemovePodSandboxResponse};

use crate::error::{Doing, Error, Kind, Result};
use crate::pods::{Pod, PodEvent};
use crate::runtime::{remove_container, stop_pod_sandbox};
use crate::{CriServer, host};

/// Idempotent: the kubelet retries until it succeeds, so an unknown pod counts as removed.
pub(super) async fn remove_pod_sandbox(
    server: Arc<CriServer>,
    request: RemovePodSandboxRequest,
) -> Result<RemovePodSandboxResponse> {
    if let Some(pod) = server.pods.find(&request.pod_sandbox_id)? {
        remove(&server, &pod).await?;
    }
    Ok(RemovePodSandboxResponse {})
}

/// Removes a pod with everything in it.
pub(crate) async fn remove(server: &Arc<CriServer>, pod: &Arc<Pod>) -> Result<()> {
    let _one_at_a_time = pod.lifecycle.lock().await;
    if server.pods.find(&pod.id.0)?.is_none() {
        // Whoever held the lifecycle before us has removed it.
        return Ok(());
    }
    stop_pod_sandbox::stop(server, pod).await?;
    // Containers that are being made notice that the pod has stopped, and undo themselves.
    let limit = Duration::from_secs(server.config.stop_timeout_s);
    let moved_in = tokio::time::timeout(limit, pod.residents.write()).await;
    let _nobody_moves_in = moved_in.map_err(|_| still_made(server, pod))?;
    pod.record
        .change(|record| record.apply(PodEvent::Remove))
        .await?;
    for container in server.containers.of(&pod.id) {
        remove_container::remove(server, &container).await?;
    }
    if let Some(sandbox) = pod.sandbox.get() {
        sandbox
            .remove()
            .await
            .doing(format!("remove the sandbox of pod {}", pod.id))?;
    }
    host::remove_directory(&server.pod_dir(&pod.id)).await?;
    pod.record.delete().await?;
    server.pods.remove(&pod.id);
    Ok(())
}

/// What hangs there is most likely a volume.
fn still_made(server: &CriServer, pod: &Pod) -> Error {
    let calls = server.container_calls.under_way().into_iter();
    let names: Vec<_> = calls
        .filter(|key| key.pod == pod.id)
        .map(|key| key.name)
        .collect();
    let message = format!(
        "pod {} can't be removed while containers are still being made in it: {}; \
         see whether their volumes answer",
        pod.id,
        names.join(", ")
    );
    Error::new(Kind::TimedOut, message)
}
