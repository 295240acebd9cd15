//! Events of pods and containers, as clients hear of them.

use std::time::Duration;

use cri_api::v1::ContainerEventType::*;
use cri_api::v1::*;
use tonic::{Status, Streaming};

use crate::node::{Node, container, pod};

/// A client that listens.
struct Client(Streaming<ContainerEventResponse>);

impl Client {
    async fn listen(node: &mut Node) -> Self {
        let events = node.runtime.get_container_events(GetEventsRequest {});
        Self(events.await.unwrap().into_inner())
    }

    async fn next(&mut self) -> Result<Option<ContainerEventResponse>, Status> {
        let next = tokio::time::timeout(Duration::from_secs(10), self.0.message());
        next.await.expect("an event")
    }

    /// The next events, all of them of `id`.
    async fn hears<const N: usize>(&mut self, id: &str, kinds: [ContainerEventType; N]) {
        for kind in kinds {
            let event = self.next().await.unwrap().unwrap();
            assert_eq!(
                (event.container_id.as_str(), event.container_event_type()),
                (id, kind)
            );
            assert!(event.created_at > 0);
        }
    }
}

#[tokio::test]
async fn the_life_of_a_pod_and_its_container_is_told() {
    let mut node = Node::start().await;
    let mut client = Client::listen(&mut node).await;
    let pod = node.run_pod(pod("web")).await.unwrap();
    client
        .hears(&pod, [ContainerCreatedEvent, ContainerStartedEvent])
        .await;

    let config = container("main", &node.image);
    let id = node.create(&pod, config).await.unwrap();
    client.hears(&id, [ContainerCreatedEvent]).await;
    node.start_container(&id).await.unwrap();
    client.hears(&id, [ContainerStartedEvent]).await;
    node.world.end(&id, 7);
    let stopped = client.next().await.unwrap().unwrap();
    assert_eq!(stopped.container_event_type(), ContainerStoppedEvent);
    let of_pod = stopped.pod_sandbox_status.unwrap();
    assert_eq!(
        (&of_pod.id, of_pod.state()),
        (&pod, PodSandboxState::SandboxReady)
    );
    let [status] = &stopped.containers_statuses[..] else {
        panic!("{:?}", stopped.containers_statuses);
    };
    assert_eq!((&status.id, status.exit_code), (&id, 7));

    node.remove_container(&id).await.unwrap();
    client.hears(&id, [ContainerDeletedEvent]).await;
    node.stop_pod(&pod).await.unwrap();
    client.hears(&pod, [ContainerStoppedEvent]).await;
    node.remove_pod(&pod).await.unwrap();
    client.hears(&pod, [ContainerDeletedEvent]).await;
}

#[tokio::test]
async fn what_was_there_before_the_server_is_told_of_too() {
    let mut node = Node::start().await;
    let (_, id) = node.running().await;
    node.restart_server().await;
    let mut client = Client::listen(&mut node).await;
    node.world.end(&id, 0);
    // What came before the client is none of its business, but may have been on its way.
    loop {
        let event = client.next().await.unwrap().unwrap();
        if event.container_event_type() == ContainerStoppedEvent {
            assert_eq!(event.container_id, id);
            break;
        }
    }
}

#[tokio::test]
async fn a_server_that_is_to_end_does_not_wait_for_who_listens() {
    let mut node = Node::start().await;
    let mut client = Client::listen(&mut node).await;
    tokio::time::timeout(Duration::from_secs(5), node.end_server())
        .await
        .expect("it ends");
    assert!(matches!(client.next().await, Ok(None)));
}
