//! The server is killed and started again.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use cri_api::v1::*;

use crate::node::{Node, container, pod};

#[tokio::test]
async fn running_pods_are_taken_back() {
    let mut node = Node::start().await;
    let (pod, id) = node.running().await;
    let before = node.status(&id).await.unwrap();
    node.restart_server().await;
    assert_eq!(node.status(&id).await.unwrap(), before);
    assert_eq!(node.pods().await[0].state(), PodSandboxState::SandboxReady);
    let another = container("other", &node.image);
    node.create(&pod, another).await.unwrap();
    node.stop_container(&id, 10).await.unwrap();
    assert_eq!(node.status(&id).await.unwrap().exit_code, 131);
    node.remove_pod(&pod).await.unwrap();
    assert_eq!(node.world.sandboxes(), 0);
}

#[tokio::test]
async fn an_end_meanwhile_is_reported() {
    let mut node = Node::start().await;
    let (_, id) = node.running().await;
    node.kill_server().await;
    node.world.end(&id, 5);
    node.start_server().await;
    let status = node.status(&id).await.unwrap();
    assert_eq!(
        status.state(),
        ContainerState::ContainerExited,
        "known before anybody can ask"
    );
    assert_eq!((status.exit_code, status.reason.as_str()), (5, "Error"));
}

#[tokio::test]
async fn an_end_that_comes_while_it_is_taken_back_is_reported() {
    let mut node = Node::start().await;
    let (_, id) = node.running().await;
    node.kill_server().await;
    node.world.end_once_seen(&id, 5);
    node.start_server().await;
    let exited = tokio::time::timeout(Duration::from_secs(10), node.exited(&id));
    let status = exited.await.expect("its end is heard");
    assert_eq!((status.exit_code, status.reason.as_str()), (5, "Error"));
}

#[tokio::test]
async fn a_server_that_is_told_to_end_leaves_pods_and_takes_its_socket_along() {
    let mut node = Node::start().await;
    let (_, id) = node.running().await;
    assert!(node.path("run/cri.sock").exists());
    node.end_server().await;
    assert!(!node.path("run/cri.sock").exists());
    assert_eq!(node.world.containers(), 1);
    node.start_server().await;
    let status = node.status(&id).await.unwrap();
    assert_eq!(status.state(), ContainerState::ContainerRunning);
}

#[tokio::test]
async fn a_sandbox_that_died_meanwhile_leaves_a_pod_that_is_not_ready() {
    let mut node = Node::start().await;
    let (pod, id) = node.running().await;
    node.kill_server().await;
    node.world.kill_sandbox(&pod, "killed");
    node.start_server().await;
    assert_eq!(
        node.pods().await[0].state(),
        PodSandboxState::SandboxNotready
    );
    let status = node.status(&id).await.unwrap();
    assert_eq!(
        (status.state(), status.exit_code),
        (ContainerState::ContainerExited, 255)
    );
    assert!(!status.message.is_empty());
    node.remove_pod(&pod).await.unwrap();
    assert!(node.pods().await.is_empty() && node.containers().await.is_empty());
}

#[tokio::test]
async fn what_ended_before_its_sandbox_died_meanwhile_keeps_its_exit_code() {
    let mut node = Node::start().await;
    let (pod, early) = node.running().await;
    let late = node
        .create(&pod, container("late", &node.image))
        .await
        .unwrap();
    node.start_container(&late).await.unwrap();
    node.kill_server().await;
    node.world.end(&early, 3);
    node.world.kill_sandbox(&pod, "killed");
    // What is known must be written down before it is thrown away.
    node.world.fail("discard");
    node.start_server().await;
    assert_eq!(node.world.sandboxes(), 1, "it is tried again");
    node.world.mend("discard");
    node.restart_server().await;
    assert_eq!(node.world.sandboxes(), 0);
    for (id, code, reason) in [(&early, 3, "Error"), (&late, 255, "Unknown")] {
        let status = node.status(id).await.unwrap();
        assert_eq!(
            (status.exit_code, &*status.reason),
            (code, reason),
            "{status:?}"
        );
    }
}

#[tokio::test]
async fn what_was_half_made_is_removed() {
    let mut node = Node::start().await;
    let (pod_id, _) = node.running().await;
    node.world.close_gate();
    let short = Duration::from_millis(100);
    tokio::time::timeout(short, node.run_pod(pod("half")))
        .await
        .unwrap_err();
    let config = container("half", &node.image);
    tokio::time::timeout(short, node.create(&pod_id, config))
        .await
        .unwrap_err();
    // However slow the node: the calls go on without their clients.
    while (
        node.names("run/pods").len(),
        node.names("state/containers").len(),
    ) != (2, 2)
    {
        tokio::time::sleep(short).await;
    }
    node.kill_server().await;
    node.world.open_gate();
    node.start_server().await;
    assert_eq!(node.pods().await.len(), 1);
    assert_eq!(node.containers().await.len(), 1);
    assert_eq!(node.names("run/pods"), [pod_id]);
    assert_eq!(node.names("state/containers").len(), 1);
    node.run_pod(pod("half")).await.unwrap();
}

#[tokio::test]
async fn what_can_not_be_undone_does_not_keep_the_server_from_starting() {
    let mut node = Node::start().await;
    let (pod_id, id) = node.running().await;
    node.world.close_gate();
    let short = Duration::from_millis(100);
    tokio::time::timeout(short, node.run_pod(pod("half")))
        .await
        .unwrap_err();
    node.kill_server().await;
    // A container that can't be removed, and a namespace that can't be released.
    node.world.fail("remove");
    let in_the_way = node.path("netns/bulkhead-half/full");
    std::fs::create_dir_all(&in_the_way).unwrap();
    let database = rusqlite::Connection::open(node.path("state/state.db")).unwrap();
    database
        .execute(
            "UPDATE records SET content = json_set(content, '$.state', 'Creating') WHERE id = ?1",
            [&id],
        )
        .unwrap();
    let namespace = in_the_way.parent().unwrap().to_str().unwrap();
    let changed = database
        .execute(
            "UPDATE records SET content = json_set(content, '$.network.namespace', ?1) \
             WHERE kind = 'pod' AND id != ?2",
            [namespace, &pod_id],
        )
        .unwrap();
    assert_eq!(changed, 1);
    drop(database);
    node.world.open_gate();
    node.start_server().await;
    assert_eq!(node.pods().await.len(), 1, "the half-made one is gone");
    assert!(node.containers().await.is_empty());
    assert_eq!(node.world.containers(), 1);
    node.run_pod(pod("half")).await.unwrap();
    node.world.mend("remove");
    node.restart_server().await;
    assert_eq!(node.world.containers(), 0, "tried again");
}

#[tokio::test]
async fn after_a_reboot_all_has_ended_and_nobody_is_asked() {
    let mut node = Node::start().await;
    let (pod, id) = node.running().await;
    node.kill_server().await;
    node.world.reboot();
    let database = rusqlite::Connection::open(node.path("state/state.db")).unwrap();
    database
        .execute("UPDATE facts SET value = 'another boot'", [])
        .unwrap();
    drop(database);
    node.world.fail("adopt");
    node.start_server().await;
    let status = node.status(&id).await.unwrap();
    assert_eq!(status.state(), ContainerState::ContainerExited);
    assert!(status.message.contains("rebooted"), "{}", status.message);
    node.stop_pod(&pod).await.unwrap();
    node.remove_pod(&pod).await.unwrap();
}

#[tokio::test]
async fn a_pod_that_does_not_answer_is_killed_when_it_is_stopped() {
    let mut node = Node::start().await;
    let (pod, id) = node.running().await;
    node.world.fail("adopt");
    node.restart_server().await;
    assert_eq!(
        node.pods().await[0].state(),
        PodSandboxState::SandboxNotready
    );
    assert_eq!(node.world.sandboxes(), 1, "it may live, so it is not swept");
    node.world.fail("discard");
    node.stop_pod(&pod).await.unwrap_err();
    node.world.mend("discard");
    node.stop_pod(&pod).await.unwrap();
    assert_eq!(node.world.sandboxes(), 0, "it had no part in its end");
    node.remove_container(&id).await.unwrap();
    node.remove_pod(&pod).await.unwrap();
}

#[tokio::test]
async fn a_stopped_pod_stays_stopped_and_can_be_removed() {
    let mut node = Node::start().await;
    let (pod, id) = node.running().await;
    node.stop_pod(&pod).await.unwrap();
    let before = node.status(&id).await.unwrap();
    node.restart_server().await;
    assert_eq!(node.status(&id).await.unwrap(), before);
    assert_eq!(node.world.sandboxes(), 0, "what was left of it is swept");
    node.remove_pod(&pod).await.unwrap();
    assert!(node.names("state/containers").is_empty());
}

#[tokio::test]
async fn directories_of_nobody_are_removed() {
    let mut node = Node::start().await;
    node.kill_server().await;
    std::fs::create_dir_all(node.path("state/containers/gone/upper")).unwrap();
    std::fs::create_dir_all(node.path("run/pods/gone")).unwrap();
    node.start_server().await;
    for directory in ["state/containers", "run/pods"] {
        assert!(node.names(directory).is_empty());
        let mode = node
            .path(directory)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(
            mode & 0o777,
            0o700,
            "what containers write is for root alone"
        );
    }
}
