//! What the server says of itself.

use cri_api::v1::*;
use tonic::Code;

use crate::node::Node;

#[tokio::test]
async fn the_version_is_the_kubelets_and_nothing_is_empty() {
    let mut node = Node::start().await;
    let version = node
        .runtime
        .version(VersionRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(version.version, "0.1.0");
    assert_eq!(version.runtime_name, "bulkhead");
    assert!(!version.runtime_version.is_empty() && !version.runtime_api_version.is_empty());
}

#[tokio::test]
async fn both_conditions_are_true_and_the_default_handler_has_an_empty_name_too() {
    let mut node = Node::start().await;
    let request = StatusRequest { verbose: true };
    let answer = node.runtime.status(request).await.unwrap().into_inner();
    let conditions = answer.status.unwrap().conditions;
    let states: Vec<_> = conditions
        .iter()
        .map(|c| (c.r#type.as_str(), c.status))
        .collect();
    assert_eq!(states, [("RuntimeReady", true), ("NetworkReady", true)]);
    let names: Vec<_> = answer
        .runtime_handlers
        .iter()
        .map(|h| h.name.as_str())
        .collect();
    assert_eq!(names, ["", "memory"]);
    assert!(
        answer.runtime_handlers[0]
            .features
            .unwrap()
            .recursive_read_only_mounts
    );
    let config: serde_json::Value = serde_json::from_str(&answer.info["config"]).unwrap();
    assert_eq!(config["stateDir"], node.path("state").display().to_string());
}

#[tokio::test]
async fn a_handler_that_is_not_available_says_why() {
    let mut node = Node::start().await;
    node.world.make_unavailable("/dev/kvm is missing");
    let answer = node
        .runtime
        .status(StatusRequest::default())
        .await
        .unwrap()
        .into_inner();
    let ready = &answer.status.unwrap().conditions[0];
    assert!(
        !ready.status && ready.message.contains("/dev/kvm"),
        "{ready:?}"
    );
    let error = node.run_pod(crate::node::pod("web")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("/dev/kvm"), "{}", error.message());
}

#[tokio::test]
async fn the_cgroup_driver_is_always_told() {
    let mut node = Node::start().await;
    let answer = node
        .runtime
        .runtime_config(RuntimeConfigRequest::default())
        .await
        .unwrap();
    let linux = answer.into_inner().linux.unwrap();
    assert_eq!(linux.cgroup_driver(), CgroupDriver::Cgroupfs);
}

#[tokio::test]
async fn calls_that_are_not_served_say_so() {
    let mut node = Node::start().await;
    let request = CheckpointPodRequest::default();
    let error = node.runtime.checkpoint_pod(request).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
}

#[tokio::test]
async fn lists_come_in_pieces_too() {
    let mut node = Node::start().await;
    let (pod, id) = node.running().await;
    let request = StreamPodSandboxesRequest::default();
    let mut pods = node
        .runtime
        .stream_pod_sandboxes(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        pods.message().await.unwrap().unwrap().pod_sandboxes[0].id,
        pod
    );
    assert!(pods.message().await.unwrap().is_none());
    let request = StreamContainersRequest::default();
    let mut containers = node
        .runtime
        .stream_containers(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        containers.message().await.unwrap().unwrap().containers[0].id,
        id
    );
    let request = StreamImagesRequest::default();
    let mut images = node
        .images
        .stream_images(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(images.message().await.unwrap().unwrap().images.len(), 1);
}
