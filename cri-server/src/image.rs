//! `ImageService`: one line per call; each call in a file of its own.

use std::pin::Pin;
use std::sync::Arc;

use cri_api::v1::image_service_server::ImageService;
use cri_api::v1::*;
use futures::Stream;
use tonic::{Request, Response, Status};

use crate::CriServer;
use crate::instrument::Rpc::{Change, Poll};
use crate::instrument::call;

mod image_fs_info;
mod image_status;
mod list_images;
mod pull_image;
mod remove_image;
mod stream_images;

/// Serves images.
pub(crate) struct ImageRpcs(pub(crate) Arc<CriServer>);

type Answer<A> = Result<Response<A>, Status>;
type Streamed<A> = Pin<Box<dyn Stream<Item = Result<A, Status>> + Send>>;

#[rustfmt::skip]
#[tonic::async_trait]
impl ImageService for ImageRpcs {
    async fn list_images(&self, r: Request<ListImagesRequest>) -> Answer<ListImagesResponse> {
        call(&self.0, Poll("ListImages"), |_| String::new(), r, list_images::list_images).await
    }
    type StreamImagesStream = Streamed<StreamImagesResponse>;
    async fn stream_images(&self, r: Request<StreamImagesRequest>) -> Answer<Self::StreamImagesStream> {
        call(&self.0, Poll("StreamImages"), |_| String::new(), r, stream_images::stream_images).await
    }
    async fn image_status(&self, r: Request<ImageStatusRequest>) -> Answer<ImageStatusResponse> {
        let image = |r: &ImageStatusRequest| name(r.image.as_ref());
        call(&self.0, Poll("ImageStatus"), image, r, image_status::image_status).await
    }
    async fn pull_image(&self, r: Request<PullImageRequest>) -> Answer<PullImageResponse> {
        pull_image::pull_image(&self.0, r).await
    }
    async fn remove_image(&self, r: Request<RemoveImageRequest>) -> Answer<RemoveImageResponse> {
        let image = |r: &RemoveImageRequest| name(r.image.as_ref());
        call(&self.0, Change("RemoveImage"), image, r, remove_image::remove_image).await
    }
    async fn image_fs_info(&self, r: Request<ImageFsInfoRequest>) -> Answer<ImageFsInfoResponse> {
        call(&self.0, Poll("ImageFsInfo"), |_| String::new(), r, image_fs_info::image_fs_info).await
    }
}

/// What an image is called in a request; empty if it says nothing.
fn name(spec: Option<&ImageSpec>) -> String {
    spec.map(|spec| spec.image.clone()).unwrap_or_default()
}
