//! `UpdateContainerResources`: change the limits of a container.

use std::sync::Arc;

use cri_api::v1::{UpdateContainerResourcesRequest, UpdateContainerResourcesResponse};
use sandbox::Kind;

use crate::CriServer;
use crate::error::{Doing, Error, Result};
use crate::{resources, watch};

pub(super) async fn update_container_resources(
    server: Arc<CriServer>,
    request: UpdateContainerResourcesRequest,
) -> Result<UpdateContainerResourcesResponse> {
    let container = server.containers.get(&request.container_id)?;
    let new = resources::from_cri(request.linux.as_ref())?;
    let _one_at_a_time = container.lifecycle.lock().await;
    let record = container.record.get();
    if watch::has_ended(&record) {
        let message = format!(
            "container {} can't be changed: it is {}",
            record.id, record.state
        );
        return Err(Error::new(Kind::WrongState, message));
    }
    let doing = format!("change the limits of container {}", container.id);
    container
        .workload()?
        .update(new.clone())
        .await
        .doing(doing)?;
    // The kernel has them by now, whatever becomes of the record.
    let note = |record: &mut crate::containers::SavedContainer| {
        record.resources = resources::merged(&record.resources, &new);
    };
    container.record.observe(note).await;
    Ok(UpdateContainerResourcesResponse {})
}
