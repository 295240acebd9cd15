//! `RemoveContainer`: kill it if need be, then remove all that is left of it. Its log stays: the
//! kubelet removes logs itself.

use std::sync::Arc;
use std::time::Duration;

use cri_api::v1::{RemoveContainerRequest, RemoveContainerResponse};

use crate::containers::{Container, ContainerEvent};
use crate::error::{Doing, Result};
use crate::runtime::create_container::{give_back, held};
use crate::runtime::stop_container;
use crate::{CriServer, host};

/// Idempotent: an unknown container counts as removed.
pub(super) async fn remove_container(
    server: Arc<CriServer>,
    request: RemoveContainerRequest,
) -> Result<RemoveContainerResponse> {
    if let Some(container) = server.containers.find(&request.container_id)? {
        remove(&server, &container).await?;
    }
    Ok(RemoveContainerResponse {})
}

/// Removes a container.
pub(crate) async fn remove(server: &CriServer, container: &Container) -> Result<()> {
    let _one_at_a_time = container.lifecycle.lock().await;
    if server.containers.find(&container.id.0)?.is_none() {
        // Whoever held the lifecycle before us has removed it.
        return Ok(());
    }
    stop_container::stop(server, container, Duration::ZERO).await?;
    container
        .record
        .change(|record| record.apply(ContainerEvent::Remove))
        .await?;
    if let Some(workload) = container.workload.get() {
        workload
            .remove()
            .await
            .doing(format!("remove container {}", container.id))?;
    }
    let held = held(&container.record.get());
    give_back(server.images.clone(), container.id.clone(), held).await?;
    host::remove_directory(&server.container_dir(&container.id)).await?;
    container.record.delete().await?;
    server.containers.remove(&container.id);
    Ok(())
}
