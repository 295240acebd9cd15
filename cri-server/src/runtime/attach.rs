//! `Attach`: a URL where a client can join the first process of a container.

use std::sync::Arc;

use cri_api::v1::{AttachRequest, AttachResponse};

use crate::error::Result;
use crate::{CriServer, streaming};

pub(super) async fn attach(
    server: Arc<CriServer>,
    request: AttachRequest,
) -> Result<AttachResponse> {
    streaming::running(&server, &request.container_id)?;
    streaming::of(&server)?
        .attach(request)
        .map_err(streaming::refused)
}
