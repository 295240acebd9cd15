//! `PortForward`: a URL where a client can reach ports in a pod.

use std::sync::Arc;

use cri_api::v1::{PortForwardRequest, PortForwardResponse};

use crate::error::Result;
use crate::{CriServer, streaming};

pub(super) async fn port_forward(
    server: Arc<CriServer>,
    request: PortForwardRequest,
) -> Result<PortForwardResponse> {
    streaming::must_be_ready(&server, &request.pod_sandbox_id)?;
    streaming::of(&server)?
        .port_forward(request)
        .map_err(streaming::refused)
}
