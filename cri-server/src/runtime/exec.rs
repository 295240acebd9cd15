//! `Exec`: a URL where a client can run a command in a container with its streams on a connection of their own.

use std::sync::Arc;

use cri_api::v1::{ExecRequest, ExecResponse};

use crate::error::Result;
use crate::{CriServer, streaming};

pub(super) async fn exec(server: Arc<CriServer>, request: ExecRequest) -> Result<ExecResponse> {
    streaming::running(&server, &request.container_id)?;
    streaming::of(&server)?
        .exec(request)
        .map_err(streaming::refused)
}
