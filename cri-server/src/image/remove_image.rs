//! `RemoveImage`: with all its names.

use std::sync::Arc;

use cri_api::v1::{RemoveImageRequest, RemoveImageResponse};

use crate::CriServer;
use crate::error::{Error, Result};

/// Idempotent: an unknown image counts as removed.
pub(super) async fn remove_image(
    server: Arc<CriServer>,
    request: RemoveImageRequest,
) -> Result<RemoveImageResponse> {
    let name = super::name(request.image.as_ref());
    if name.is_empty() {
        return Err(Error::invalid("the request names no image"));
    }
    server.images.remove(&name).await?;
    Ok(RemoveImageResponse {})
}
