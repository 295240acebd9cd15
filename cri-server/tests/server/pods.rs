//! The life of pods.

use cri_api::v1::*;
use tonic::Code;

use crate::node::{Node, container, pod};

#[tokio::test]
async fn a_pod_is_ready_then_stopped_then_gone() {
    let mut node = Node::start().await;
    let id = node.run_pod(pod("web")).await.unwrap();
    assert_eq!(id.len(), 64);
    let status = node.pod_status(&id).await.unwrap();
    let ready = status.status.unwrap();
    assert_eq!(ready.state(), PodSandboxState::SandboxReady);
    assert_eq!(ready.metadata, pod("web").metadata);
    assert_eq!(ready.labels, pod("web").labels);
    assert!(status.info["explain"].contains("128 + 128 = 256"));
    assert_eq!(node.pods().await[0].id, id);

    node.stop_pod(&id).await.unwrap();
    assert_eq!(
        node.pods().await[0].state(),
        PodSandboxState::SandboxNotready
    );
    node.remove_pod(&id).await.unwrap();
    assert!(node.pods().await.is_empty());
    assert_eq!(
        node.pod_status(&id).await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(node.world.sandboxes(), 0);
    assert!(node.names("run/pods").is_empty());
}

#[tokio::test]
async fn stopping_and_removing_can_be_repeated() {
    let mut node = Node::start().await;
    let id = node.run_pod(pod("web")).await.unwrap();
    for _ in 0..2 {
        node.stop_pod(&id).await.unwrap();
    }
    for _ in 0..2 {
        node.remove_pod(&id).await.unwrap();
    }
    node.stop_pod(&id).await.unwrap();
}

#[tokio::test]
async fn a_failed_run_leaves_nothing_and_frees_the_name() {
    let mut node = Node::start().await;
    node.world.fail("create");
    let error = node.run_pod(pod("web")).await.unwrap_err();
    assert_eq!(error.message(), "make the sandbox: create fails as told");
    assert!(node.pods().await.is_empty());
    assert!(node.names("run/pods").is_empty());
    node.world.mend("create");
    node.run_pod(pod("web")).await.unwrap();
}

#[tokio::test]
async fn a_repeated_run_gives_the_same_pod_and_a_clash_of_names_says_what_to_do() {
    let mut node = Node::start().await;
    let id = node.run_pod(pod("web")).await.unwrap();
    assert_eq!(node.run_pod(pod("web")).await.unwrap(), id);
    assert_eq!(node.world.sandboxes_made(), 1);

    let other = PodSandboxConfig {
        hostname: "other".into(),
        ..pod("web")
    };
    let error = node.run_pod(other).await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    assert!(error.message().contains(&id), "{}", error.message());

    node.stop_pod(&id).await.unwrap();
    let error = node.run_pod(pod("web")).await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    assert!(error.message().contains("remove it"), "{}", error.message());
}

#[tokio::test]
async fn an_unknown_handler_is_refused_by_name() {
    let mut node = Node::start().await;
    let request = RunPodSandboxRequest {
        config: Some(pod("web")),
        runtime_handler: "warp".into(),
    };
    let error = node.runtime.run_pod_sandbox(request).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.message().contains("\"warp\""), "{}", error.message());
    assert!(error.message().contains("memory"), "{}", error.message());
}

#[tokio::test]
async fn removing_a_pod_stops_it_and_takes_its_containers_along() {
    let mut node = Node::start().await;
    let (pod, _) = node.running().await;
    node.remove_pod(&pod).await.unwrap();
    assert!(node.containers().await.is_empty());
    assert_eq!((node.world.sandboxes(), node.world.containers()), (0, 0));
    assert!(node.names("state/containers").is_empty());
}

#[tokio::test]
async fn nothing_is_made_in_a_stopped_pod() {
    let mut node = Node::start().await;
    let id = node.run_pod(pod("web")).await.unwrap();
    node.stop_pod(&id).await.unwrap();
    let config = container("main", &node.image);
    let error = node.create(&id, config).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_sandbox_that_dies_takes_its_containers_along_and_says_why() {
    let mut node = Node::start().await;
    let (pod, container) = node.running().await;
    node.world.kill_sandbox(&pod, "the guest's kernel panicked");
    let status = node.exited(&container).await;
    assert_eq!(status.exit_code, 137);
    let status = loop {
        let status = node.pod_status(&pod).await.unwrap();
        if status.status.as_ref().unwrap().state() == PodSandboxState::SandboxNotready {
            break status;
        }
        tokio::task::yield_now().await;
    };
    assert!(
        status.info["explain"].contains("panicked"),
        "{:?}",
        status.info
    );
    node.remove_pod(&pod).await.unwrap();
}

#[tokio::test]
async fn a_stop_that_fails_is_told_and_can_be_tried_again() {
    let mut node = Node::start().await;
    let (pod, _) = node.running().await;
    node.world.fail("stop");
    let error = node.stop_pod(&pod).await.unwrap_err();
    assert!(
        error.message().contains("stop fails as told"),
        "{}",
        error.message()
    );
    node.world.mend("stop");
    node.stop_pod(&pod).await.unwrap();
}

#[tokio::test]
async fn a_stop_that_takes_longer_than_a_call_goes_on_and_a_retry_joins_it() {
    let mut node = Node::start().await;
    let (pod, _) = node.running().await;
    node.world.close_exit();
    let error = node.stop_pod(&pod).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(
        error.message().contains("goes on being stopped"),
        "{}",
        error.message()
    );
    node.stop_pod(&pod).await.unwrap_err();
    node.world.open_exit();
    node.stop_pod(&pod).await.unwrap();
    assert_eq!(node.world.stops(), 1);
}

#[tokio::test]
async fn pods_are_found_by_a_beginning_of_their_id_and_by_filters() {
    let mut node = Node::start().await;
    let web = node.run_pod(pod("web")).await.unwrap();
    let db = node.run_pod(pod("db")).await.unwrap();
    node.stop_pod(&db).await.unwrap();
    let list = async |node: &mut Node, filter: PodSandboxFilter| {
        let request = ListPodSandboxRequest {
            filter: Some(filter),
        };
        let items = node
            .runtime
            .list_pod_sandbox(request)
            .await
            .unwrap()
            .into_inner()
            .items;
        items.into_iter().map(|pod| pod.id).collect::<Vec<_>>()
    };
    let by_id = PodSandboxFilter {
        id: web[..12].into(),
        ..Default::default()
    };
    assert_eq!(list(&mut node, by_id).await, std::slice::from_ref(&web));
    let by_label = PodSandboxFilter {
        label_selector: [("app".into(), "db".into())].into(),
        ..Default::default()
    };
    assert_eq!(list(&mut node, by_label).await, std::slice::from_ref(&db));
    let by_state = PodSandboxFilter {
        state: Some(PodSandboxStateValue {
            state: PodSandboxState::SandboxReady.into(),
        }),
        ..Default::default()
    };
    assert_eq!(list(&mut node, by_state).await, [web]);
    assert_eq!(
        list(&mut node, PodSandboxFilter::default()).await[0],
        db,
        "youngest first"
    );
}

#[tokio::test]
async fn what_the_pod_asks_for_reaches_its_sandbox() {
    let mut node = Node::start().await;
    let mut config = pod("web");
    config.hostname = "web-0".into();
    let linux = config.linux.as_mut().unwrap();
    linux.cgroup_parent = "/kubepods/poduid".into();
    linux.overhead = Some(LinuxContainerResources {
        memory_limit_in_bytes: 128 << 20,
        ..Default::default()
    });
    linux.sysctls = [("kernel.shm_rmid_forced".to_string(), "1".to_string())].into();
    let id = node.run_pod(config).await.unwrap();
    let spec = node.world.last_sandbox();
    assert_eq!(spec.id.0, id);
    assert_eq!(spec.hostname, "web-0");
    assert_eq!(spec.cgroup_parent, "/kubepods/poduid");
    assert_eq!(spec.overhead.memory_bytes, Some(128 << 20));
    assert_eq!(spec.sysctls["kernel.shm_rmid_forced"], "1");
    assert_eq!(spec.network_namespace, None);
    assert!(spec.state_dir.is_dir());
}
