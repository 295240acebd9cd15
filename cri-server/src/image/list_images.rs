//! `ListImages`.

use std::sync::Arc;

use cri_api::v1::{Image, ImageFilter, Int64Value, ListImagesRequest, ListImagesResponse};
use image_service::ImageUser;

use crate::CriServer;
use crate::error::Result;

pub(super) async fn list_images(
    server: Arc<CriServer>,
    request: ListImagesRequest,
) -> Result<ListImagesResponse> {
    Ok(ListImagesResponse {
        images: list(&server, request.filter.as_ref()),
    })
}

/// Images that a filter lets through.
pub(super) fn list(server: &CriServer, filter: Option<&ImageFilter>) -> Vec<Image> {
    let name = super::name(filter.and_then(|filter| filter.image.as_ref()));
    let images = match name.as_str() {
        "" => server.images.list(),
        name => server.images.find(name).into_iter().collect(),
    };
    images.iter().map(|image| to_cri(image)).collect()
}

/// As CRI words it. What was asked for is not echoed: each way to ask has the same answer.
pub(super) fn to_cri(image: &image_service::Image) -> Image {
    let (uid, username) = match image.config.run_as() {
        ImageUser::Uid(uid) => (Some(Int64Value { value: uid.into() }), String::new()),
        ImageUser::Name(name) => (None, name),
    };
    Image {
        id: image.id.to_string(),
        repo_tags: image.repo_tags.iter().cloned().collect(),
        repo_digests: image.repo_digests.iter().cloned().collect(),
        size: image.size_bytes,
        uid,
        username,
        spec: None,
        pinned: image.pinned,
    }
}
