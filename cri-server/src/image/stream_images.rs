//! `StreamImages`: the same list in pieces.

use std::sync::Arc;

use cri_api::v1::{StreamImagesRequest, StreamImagesResponse};

use crate::CriServer;
use crate::error::Result;
use crate::image::{Streamed, list_images};
use crate::runtime::pieces;

pub(super) async fn stream_images(
    server: Arc<CriServer>,
    request: StreamImagesRequest,
) -> Result<Streamed<StreamImagesResponse>> {
    let images = list_images::list(&server, request.filter.as_ref());
    Ok(pieces(images, |images| StreamImagesResponse { images }))
}
