//! `UpdatePodSandboxResources`: change the limits of a pod as a whole.

use std::sync::Arc;

use cri_api::v1::{UpdatePodSandboxResourcesRequest, UpdatePodSandboxResourcesResponse};

use crate::CriServer;
use crate::error::{Doing, Result};
use crate::resources;

/// The kubelet calls it several times per resize, each time with all there is to say.
pub(super) async fn update_pod_sandbox_resources(
    server: Arc<CriServer>,
    request: UpdatePodSandboxResourcesRequest,
) -> Result<UpdatePodSandboxResourcesResponse> {
    let pod = server.pods.get(&request.pod_sandbox_id)?;
    let new = resources::from_cri(request.resources.as_ref())?;
    let overhead = resources::from_cri(request.overhead.as_ref())?;
    let _one_at_a_time = pod.lifecycle.lock().await;
    let all = resources::merged(&pod.record.get().resources, &new);
    let doing = format!("change the limits of pod {}", pod.id);
    pod.sandbox()?.update(all.clone()).await.doing(doing)?;
    let note = |record: &mut crate::pods::SavedPod| {
        record.resources = all;
        record.overhead = resources::merged(&record.overhead, &overhead);
    };
    pod.record.observe(note).await;
    Ok(UpdatePodSandboxResourcesResponse {})
}
