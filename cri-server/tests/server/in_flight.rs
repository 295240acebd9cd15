//! Calls that take long, and clients that don't wait.

use std::time::Duration;

use cri_api::v1::*;
use tonic::Code;

use crate::node::{Node, container, pod};

/// Long enough for a call to reach the server and wait there.
const A_WHILE: Duration = Duration::from_millis(100);
/// Where the kubelet notes a container's `terminationMessagePath`.
const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";

#[tokio::test]
async fn a_retry_of_a_run_that_takes_long_gets_its_pod() {
    let mut node = Node::start().await;
    node.world.close_gate();
    let given_up = tokio::time::timeout(A_WHILE, node.run_pod(pod("web"))).await;
    assert!(given_up.is_err());
    assert!(node.pods().await.is_empty(), "not listed before it is made");
    let mut client = node.runtime.clone();
    let request = RunPodSandboxRequest {
        config: Some(pod("web")),
        ..Default::default()
    };
    let retry = tokio::spawn(async move { client.run_pod_sandbox(request).await });
    tokio::time::sleep(A_WHILE).await;
    node.world.open_gate();
    let id = retry.await.unwrap().unwrap().into_inner().pod_sandbox_id;
    assert_eq!(node.world.sandboxes_made(), 1);
    assert_eq!(node.pods().await[0].id, id);
}

#[tokio::test]
async fn another_pod_of_the_same_name_meanwhile_is_refused() {
    let mut node = Node::start().await;
    node.world.close_gate();
    tokio::time::timeout(A_WHILE, node.run_pod(pod("web")))
        .await
        .unwrap_err();
    let other = PodSandboxConfig {
        hostname: "other".into(),
        ..pod("web")
    };
    let error = node.run_pod(other).await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    assert!(!error.message().contains("reserved"), "{}", error.message());
}

#[tokio::test]
async fn a_retry_of_a_create_that_takes_long_gets_its_container() {
    let mut node = Node::start().await;
    let id = node.run_pod(pod("web")).await.unwrap();
    node.world.close_gate();
    // As the kubelet does: a new file each time, and variables in an order of chance.
    let config = |file: &str, variables: [&str; 2]| ContainerConfig {
        annotations: [(MESSAGE_PATH.into(), "/dev/termination-log".into())].into(),
        mounts: vec![Mount {
            container_path: "/dev/termination-log".into(),
            host_path: node.path(file).display().to_string(),
            ..Default::default()
        }],
        envs: variables.map(variable).into(),
        ..container("main", &node.image)
    };
    let [first, retry] = [config("aaaa", ["A", "B"]), config("bbbb", ["B", "A"])];
    let used = first.mounts[0].host_path.clone();
    let given_up = tokio::time::timeout(A_WHILE, node.create(&id, first)).await;
    assert!(given_up.is_err());
    assert!(
        node.containers().await.is_empty(),
        "not listed before it is made"
    );
    let world = node.world.clone();
    tokio::spawn(async move {
        tokio::time::sleep(A_WHILE).await;
        world.open_gate();
    });
    let made = node.create(&id, retry.clone()).await.unwrap();
    assert_eq!(node.create(&id, retry).await.unwrap(), made, "made by now");
    assert_eq!(
        (node.containers().await.len(), node.world.containers()),
        (1, 1)
    );
    let request = ContainerStatusRequest {
        container_id: made,
        verbose: false,
    };
    let answer = node.runtime.container_status(request).await.unwrap();
    let mounts = answer.into_inner().status.unwrap().mounts;
    assert_eq!(mounts[0].host_path, used, "the file that the container has");
}

fn variable(key: &str) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: "1".into(),
    }
}

#[tokio::test]
async fn a_container_that_is_made_while_its_pod_is_stopped_is_undone() {
    let mut node = Node::start().await;
    let id = node.run_pod(pod("web")).await.unwrap();
    node.world.close_gate();
    let config = container("main", &node.image);
    let mut client = node.runtime.clone();
    let request = CreateContainerRequest {
        pod_sandbox_id: id.clone(),
        config: Some(config),
        sandbox_config: None,
    };
    let create = tokio::spawn(async move { client.create_container(request).await });
    tokio::time::sleep(A_WHILE).await;
    node.stop_pod(&id).await.unwrap();
    node.world.open_gate();
    let error = create.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    node.remove_pod(&id).await.unwrap();
    assert_eq!((node.world.sandboxes(), node.world.containers()), (0, 0));
    assert!(node.names("state/containers").is_empty());
}

#[tokio::test]
async fn a_pod_in_which_the_making_of_a_container_hangs_is_not_waited_for_for_ever() {
    let mut node = Node::start().await;
    let id = node.run_pod(pod("web")).await.unwrap();
    node.world.close_gate();
    let config = container("main", &node.image);
    tokio::time::timeout(A_WHILE, node.create(&id, config))
        .await
        .unwrap_err();
    let error = node.remove_pod(&id).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    let message = error.message();
    assert!(message.contains("being made in it: main"), "{message}");
    node.world.open_gate();
    node.remove_pod(&id).await.unwrap();
}

#[tokio::test]
async fn a_retry_of_a_start_that_takes_long_succeeds_with_it() {
    let mut node = Node::start().await;
    let pod = node.run_pod(pod("web")).await.unwrap();
    let config = container("main", &node.image);
    let id = node.create(&pod, config).await.unwrap();
    node.world.close_gate();
    tokio::time::timeout(A_WHILE, node.start_container(&id))
        .await
        .unwrap_err();
    let world = node.world.clone();
    tokio::spawn(async move {
        tokio::time::sleep(A_WHILE).await;
        world.open_gate();
    });
    node.start_container(&id).await.unwrap();
}
