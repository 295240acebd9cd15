//! `ReopenContainerLog`: the kubelet has renamed the log; go on in a new file.

use std::sync::Arc;

use cri_api::v1::{ReopenContainerLogRequest, ReopenContainerLogResponse};

use crate::CriServer;
use crate::error::{Doing, Result};

/// On return the new file exists and the old one grows no more.
pub(super) async fn reopen_container_log(
    server: Arc<CriServer>,
    request: ReopenContainerLogRequest,
) -> Result<ReopenContainerLogResponse> {
    let container = server.containers.get(&request.container_id)?;
    let workload = container.running()?;
    if container.record.get().log_path.is_some() {
        workload
            .reopen_log()
            .await
            .doing(format!("reopen the log of {}", container.id))?;
    }
    Ok(ReopenContainerLogResponse {})
}
