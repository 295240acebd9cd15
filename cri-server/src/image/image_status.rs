//! `ImageStatus`: a missing image is no error, but no image.

use std::collections::BTreeMap;
use std::sync::Arc;

use cri_api::v1::{ImageStatusRequest, ImageStatusResponse};
use image_service::Image;
use serde_json::{Value, json};

use crate::CriServer;
use crate::error::{Error, Result};
use crate::image::list_images::to_cri;

pub(super) async fn image_status(
    server: Arc<CriServer>,
    request: ImageStatusRequest,
) -> Result<ImageStatusResponse> {
    let name = super::name(request.image.as_ref());
    if name.is_empty() {
        return Err(Error::invalid("the request names no image"));
    }
    let Some(image) = server.images.find(&name) else {
        return Ok(ImageStatusResponse::default());
    };
    let info = if request.verbose {
        info(&server, &image).await?
    } else {
        BTreeMap::new()
    };
    Ok(ImageStatusResponse {
        image: Some(to_cri(&image)),
        info,
    })
}

/// The image's own configuration, for people who debug.
async fn info(server: &CriServer, image: &Image) -> Result<BTreeMap<String, String>> {
    let config = server.images.raw_config(&image.id).await?;
    // Shown as it is where it is JSON, which a stranger wrote.
    let config: Value = serde_json::from_str(&config).unwrap_or(Value::String(config));
    let info = json!({ "imageSpec": config });
    Ok([("info".to_string(), info.to_string())].into())
}
