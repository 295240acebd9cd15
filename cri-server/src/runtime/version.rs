//! `Version`: who we are.

use std::sync::Arc;

use cri_api::KUBELET_API_VERSION;
use cri_api::v1::{VersionRequest, VersionResponse};

use crate::CriServer;
use crate::error::Result;

/// The kubelet insists on its own version and on four strings that are not empty.
pub(super) async fn version(_: Arc<CriServer>, _: VersionRequest) -> Result<VersionResponse> {
    Ok(VersionResponse {
        version: KUBELET_API_VERSION.into(),
        runtime_name: "bulkhead".into(),
        runtime_version: env!("CARGO_PKG_VERSION").into(),
        runtime_api_version: "v1".into(),
    })
}
