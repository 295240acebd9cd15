//! `StreamPodSandboxes`, `StreamContainers` and their like: the same lists in pieces, so that a node
//! with many dead containers does not outgrow a message.

use std::sync::Arc;

use cri_api::MAX_MESSAGE;
use cri_api::v1::*;
use futures::StreamExt;
use futures::stream::iter;
use prost::Message;

use crate::CriServer;
use crate::error::Result;
use crate::runtime::{
    Streamed, list_container_stats, list_containers, list_pod_sandbox, list_pod_sandbox_stats,
};

/// How many entries go into one message, at most.
const PIECE: usize = 100;
/// How many bytes of entries, but for a single one that is larger. Annotations may be long.
const PIECE_BYTES: usize = MAX_MESSAGE / 4;

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
    T: Message + 'static,
    A: Send + 'static,
{
    iter(cut(entries).into_iter().map(message).map(Ok)).boxed()
}

fn cut<T: Message>(entries: Vec<T>) -> Vec<Vec<T>> {
    let mut pieces: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        let length = entry.encoded_len();
        match pieces.last_mut() {
            Some(piece) if piece.len() < PIECE && bytes + length <= PIECE_BYTES => {
                bytes += length;
                piece.push(entry);
            }
            _ => {
                bytes = length;
                pieces.push(vec![entry]);
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(count: usize, annotation_bytes: usize) -> Vec<PodSandbox> {
        let pod = PodSandbox {
            annotations: [("note".into(), "x".repeat(annotation_bytes))].into(),
            ..PodSandbox::default()
        };
        vec![pod; count]
    }

    fn lengths(pods: Vec<PodSandbox>) -> Vec<usize> {
        cut(pods).iter().map(Vec::len).collect()
    }

    #[test]
    fn small_entries_are_counted() {
        assert!(lengths(pods(0, 0)).is_empty());
        assert_eq!(lengths(pods(250, 10)), [100, 100, 50]);
    }

    #[test]
    fn large_entries_are_weighed() {
        let pieces = cut(pods(100, 170 << 10));
        assert_eq!(pieces.iter().map(Vec::len).sum::<usize>(), 100);
        for pod_sandboxes in pieces {
            let message = StreamPodSandboxesResponse { pod_sandboxes };
            assert!(message.encoded_len() < MAX_MESSAGE / 2);
        }
        assert_eq!(lengths(pods(2, PIECE_BYTES + 1)), [1, 1]);
    }
}
