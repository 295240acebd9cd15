//! `UpdateRuntimeConfig`: the kubelet tells the node's pod CIDR.

use std::sync::Arc;

use crate::CriServer;
use crate::error::{Doing, Result};
use cri_api::v1::{UpdateRuntimeConfigRequest, UpdateRuntimeConfigResponse};

/// Only a network that is made from a template wants to know it.
pub(super) async fn update_runtime_config(
    server: Arc<CriServer>,
    request: UpdateRuntimeConfigRequest,
) -> Result<UpdateRuntimeConfigResponse> {
    let network = request
        .runtime_config
        .and_then(|config| config.network_config);
    if let Some(network) = network {
        let told = server.network.set_pod_cidr(&network.pod_cidr).await;
        told.doing("use the pod CIDR of the kubelet")?;
    }
    Ok(UpdateRuntimeConfigResponse {})
}
