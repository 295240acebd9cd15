//! `UpdateRuntimeConfig`: the kubelet tells the node's pod CIDR.

use std::sync::Arc;

use cri_api::v1::{UpdateRuntimeConfigRequest, UpdateRuntimeConfigResponse};
use tracing::info;

use crate::CriServer;
use crate::error::Result;

/// Network plugins have their own ways to learn it; an error would only be retried.
pub(super) async fn update_runtime_config(
    _: Arc<CriServer>,
    request: UpdateRuntimeConfigRequest,
) -> Result<UpdateRuntimeConfigResponse> {
    let network = request
        .runtime_config
        .and_then(|config| config.network_config);
    info!(
        pod_cidr = network.map(|network| network.pod_cidr),
        "kubelet told the pod CIDR"
    );
    Ok(UpdateRuntimeConfigResponse {})
}
