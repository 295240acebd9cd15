//! `StreamPodSandboxes`, `StreamContainers` and their like: the same lists in pieces, so that a node
//! with many dead containers does not outgrow a message.

use std::sync::Arc;

use cri_api::v1::*;
use futures::StreamExt;
use futures::stream::iter;

use crate::CriServer;
use crate::error::Result;
use crate::runtime::{
    Streamed, list_container_stats, list_containers, list_pod_sandbox, list_pod_sandbox_stats,
};

/// How many entries go into one message.
const PIECE: usize = 100;

pub(super) async fn pod_sandboxes(
    server: Arc<CriServer>,
    request: StreamPodSandboxesRequest,
) -> Result<Streamed<StreamPodSandboxesResponse>> {
    let pods = list_pod_sandbox::list(&server, &request.filter.unwrap_or_default())?;
    Ok(pieces(pods, |pod_sandboxes| StreamPodSandboxesResponse {
        pod_sandboxes,
    }))
}

pub(super) async fn containers(
    server: Arc<CriServer>,
    request: StreamContainersRequest,
) -> Result<Streamed<StreamContainersResponse>> {
    let containers = list_containers::list(&server, &request.filter.unwrap_or_default())?;
    Ok(pieces(containers, |containers| StreamContainersResponse {
        containers,
    }))
}

pub(super) async fn container_stats(
    server: Arc<CriServer>,
    request: StreamContainerStatsRequest,
) -> Result<Streamed<StreamContainerStatsResponse>> {
    let stats = list_container_stats::list(&server, &request.filter.unwrap_or_default()).await?;
    Ok(pieces(stats, |container_stats| {
        StreamContainerStatsResponse { container_stats }
    }))
}

pub(super) async fn pod_sandbox_stats(
    server: Arc<CriServer>,
    request: StreamPodSandboxStatsRequest,
) -> Result<Streamed<StreamPodSandboxStatsResponse>> {
    let stats = list_pod_sandbox_stats::list(&server, &request.filter.unwrap_or_default()).await?;
    Ok(pieces(stats, |pod_sandbox_stats| {
        StreamPodSandboxStatsResponse { pod_sandbox_stats }
    }))
}

/// A list as a stream that ends.
pub(crate) fn pieces<T, A>(entries: Vec<T>, message: fn(Vec<T>) -> A) -> Streamed<A>
where
    T: Clone + Send + 'static,
    A: Send + 'static,
{
    let pieces: Vec<_> = entries.chunks(PIECE).map(<[T]>::to_vec).collect();
    iter(pieces.into_iter().map(message).map(Ok)).boxed()
}
