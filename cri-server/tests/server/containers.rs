//! The life of containers.

use std::time::{Duration, Instant};

use cri_api::v1::*;
use sandbox::spec::{ImageFiles, Principal};
use tonic::Code;

use crate::node::{Node, container, image, pod};

#[tokio::test]
async fn a_container_is_created_runs_ends_and_is_gone() {
    let mut node = Node::start().await;
    let pod = node.run_pod(pod("web")).await.unwrap();
    let config = container("main", &node.image);
    let id = node.create(&pod, config).await.unwrap();
    let created = node.status(&id).await.unwrap();
    assert_eq!(created.state(), ContainerState::ContainerCreated);
    assert!(created.created_at > 0 && created.started_at == 0);

    node.start_container(&id).await.unwrap();
    let running = node.status(&id).await.unwrap();
    assert_eq!(running.state(), ContainerState::ContainerRunning);
    assert!(running.started_at > 0);

    node.world.end(&id, 7);
    let exited = node.exited(&id).await;
    assert_eq!((exited.exit_code, exited.reason.as_str()), (7, "Error"));
    assert!(exited.finished_at >= exited.started_at);

    node.remove_container(&id).await.unwrap();
    assert!(node.containers().await.is_empty());
    assert_eq!(node.world.containers(), 0);
    assert!(node.names("state/containers").is_empty());
    assert_eq!(node.status(&id).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn an_end_for_want_of_memory_is_told_as_the_kubelet_expects() {
    let mut node = Node::start().await;
    let (_, id) = node.running().await;
    node.world.run_out_of_memory(&id);
    let exited = node.exited(&id).await;
    assert_eq!(
        (exited.exit_code, exited.reason.as_str()),
        (137, "OOMKilled")
    );
}

#[tokio::test]
async fn image_and_pod_come_together() {
    let mut node = Node::start().await;
    let pod = node.run_pod(pod("web")).await.unwrap();
    let config = ContainerConfig {
        args: vec!["--fast".into()],
        envs: vec![KeyValue {
            key: "COLOUR".into(),
            value: b"\xff".into(),
        }],
        ..container("main", &node.image)
    };
    let id = node.create(&pod, config).await.unwrap();
    let spec = node.world.last_container();
    assert_eq!(spec.process.args, ["/entry", "--fast"]);
    assert!(spec.process.env.contains(&b"COLOUR=\xff".to_vec()));
    assert_eq!(spec.process.cwd, "/srv");
    assert_eq!(spec.process.user.user, Some(Principal::Id(1000)));
    assert_eq!(spec.process.user.group, Some(Principal::Id(1001)));
    assert!(matches!(spec.rootfs.image, ImageFiles::Extents { .. }));
    assert!(spec.rootfs.writable_dir.is_dir());
    let names: Vec<_> = spec.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(names, ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]);

    let status = node.status(&id).await.unwrap();
    assert_eq!(status.stop_signal(), Signal::Sigquit);
    assert_eq!(status.user.unwrap().linux.unwrap().uid, 1000);
    assert_eq!(status.image.unwrap().image, node.image);
    let image_id = node.pull().await.unwrap();
    assert_eq!(status.image_id, image_id);
    assert_eq!(node.containers().await[0].image_id, image_id);
    assert!(
        status.image_ref.contains("@sha256:"),
        "{}",
        status.image_ref
    );
}

#[tokio::test]
async fn only_mounts_that_were_asked_for_are_reported_and_as_they_were_asked_for() {
    let mut node = Node::start().await;
    let pod = node.run_pod(pod("web")).await.unwrap();
    let real = node.path("volume");
    std::fs::create_dir(&real).unwrap();
    let link = node.path("link");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let mounts = vec![
        Mount {
            container_path: "/data/deep".into(),
            host_path: link.display().to_string(),
            readonly: true,
            propagation: MountPropagation::PropagationHostToContainer.into(),
            ..Default::default()
        },
        Mount {
            container_path: "/data".into(),
            host_path: node.path("missing").display().to_string(),
            ..Default::default()
        },
        Mount {
            container_path: "/image".into(),
            readonly: true,
            image: Some(image(&node.image)),
            image_sub_path: "etc".into(),
            ..Default::default()
        },
    ];
    let config = ContainerConfig {
        mounts: mounts.clone(),
        ..container("main", &node.image)
    };
    let id = node.create(&pod, config).await.unwrap();

    let mounted = node.world.last_container().mounts;
    let order: Vec<_> = mounted
        .iter()
        .map(|mount| mount.destination.as_str())
        .collect();
    assert_eq!(order, ["/data", "/image", "/data/deep"]);
    let real = real.canonicalize().unwrap();
    assert_eq!(mounted[2].source, sandbox::spec::MountSource::Host(real));
    assert!(node.path("missing").is_dir());

    let image_id = node.pull().await.unwrap();
    let mut expected = mounts;
    expected[2].image.as_mut().unwrap().image_ref = image_id;
    assert_eq!(node.status(&id).await.unwrap().mounts, expected);
}

#[tokio::test]
async fn an_image_that_is_not_here_is_to_be_pulled_first() {
    let mut node = Node::start().await;
    let pod = node.run_pod(pod("web")).await.unwrap();
    let error = node
        .create(&pod, container("main", "nobody/has:this"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(
        error.message().contains("pull it first"),
        "{}",
        error.message()
    );
}

#[tokio::test]
async fn a_failed_create_leaves_nothing_and_frees_the_name() {
    let mut node = Node::start().await;
    let pod = node.run_pod(pod("web")).await.unwrap();
    node.world.fail("create_container");
    let config = container("main", &node.image);
    node.create(&pod, config.clone()).await.unwrap_err();
    assert!(node.containers().await.is_empty());
    assert!(node.names("state/containers").is_empty());
    let removed = RemoveImageRequest {
        image: Some(image(&node.image)),
    };
    node.images.remove_image(removed).await.unwrap();
    assert!(
        node.names("images/blobs").is_empty(),
        "nobody holds the image"
    );
    node.pull().await.unwrap();
    node.world.mend("create_container");
    node.create(&pod, config).await.unwrap();
}

#[tokio::test]
async fn a_container_that_can_not_start_says_why_in_its_status_too() {
    let mut node = Node::start().await;
    let pod = node.run_pod(pod("web")).await.unwrap();
    let config = container("main", &node.image);
    let id = node.create(&pod, config).await.unwrap();
    node.world.fail("start");
    let error = node.start_container(&id).await.unwrap_err();
    assert!(
        error.message().contains("start fails as told"),
        "{}",
        error.message()
    );
    let status = node.exited(&id).await;
    assert_eq!(
        (status.exit_code, status.reason.as_str()),
        (128, "StartError")
    );
    assert!(
        status.message.contains("start fails as told"),
        "{}",
        status.message
    );
    let killed = [sandbox::Signal::KILL.0];
    assert_eq!(node.world.signals(&id), killed, "it might run all the same");
}

#[tokio::test]
async fn a_start_that_nobody_heard_of_leaves_nothing_running_and_counts_as_failed() {
    let mut node = Node::start().await;
    let pod = node.run_pod(pod("web")).await.unwrap();
    let config = container("main", &node.image);
    let id = node.create(&pod, config).await.unwrap();
    node.world.fail("answer");
    let error = node.start_container(&id).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    assert_eq!(node.world.signals(&id), [9], "its successor is to be alone");
    let check = |status: ContainerStatus| {
        assert_eq!(
            (status.state(), status.exit_code, status.reason.as_str()),
            (ContainerState::ContainerExited, 128, "StartError")
        );
        assert!(
            status.message.contains("no answer in time"),
            "{}",
            status.message
        );
    };
    check(node.status(&id).await.unwrap());
    node.restart_server().await;
    check(node.status(&id).await.unwrap());
}

#[tokio::test]
async fn a_running_container_is_not_started_again() {
    let mut node = Node::start().await;
    let (_, id) = node.running().await;
    let error = node.start_container(&id).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().contains("running"), "{}", error.message());
}

#[tokio::test]
async fn stopping_asks_by_the_images_signal_and_then_kills() {
    let mut node = Node::start().await;
    let (pod, polite) = node.running().await;
    node.stop_container(&polite, 60).await.unwrap();
    assert_eq!(node.status(&polite).await.unwrap().exit_code, 131);
    assert_eq!(node.world.signals(&polite), [3]);

    let config = ContainerConfig {
        args: vec!["stubborn".into()],
        ..container("stubborn", &node.image)
    };
    let stubborn = node.create(&pod, config).await.unwrap();
    node.start_container(&stubborn).await.unwrap();
    node.stop_container(&stubborn, 1).await.unwrap();
    assert_eq!(node.status(&stubborn).await.unwrap().exit_code, 137);
    assert_eq!(node.world.signals(&stubborn), [3, 9]);
    for id in [&polite, &stubborn] {
        node.stop_container(id, 0).await.unwrap();
    }
    node.stop_container("0123456789", 0).await.unwrap();
}

#[tokio::test]
async fn a_stop_with_less_patience_does_not_wait_for_one_with_more() {
    let mut node = Node::start().await;
    let pod = node.run_pod(pod("web")).await.unwrap();
    let config = ContainerConfig {
        args: vec!["stubborn".into()],
        ..container("main", &node.image)
    };
    let id = node.create(&pod, config).await.unwrap();
    node.start_container(&id).await.unwrap();
    let started = Instant::now();
    let mut patient = node.runtime.clone();
    let request = StopContainerRequest {
        container_id: id.clone(),
        timeout: 600,
    };
    let patient = tokio::spawn(async move { patient.stop_container(request).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    node.stop_container(&id, 0).await.unwrap();
    patient.await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!(node.world.signals(&id), [3, 9], "asked once");
}

#[tokio::test]
async fn removing_kills_what_runs_and_can_be_repeated() {
    let mut node = Node::start().await;
    let (_, id) = node.running().await;
    for _ in 0..2 {
        node.remove_container(&id).await.unwrap();
    }
    assert!(node.containers().await.is_empty());
    assert_eq!(node.world.containers(), 0);
}

#[tokio::test]
async fn limits_are_changed_and_reported() {
    let mut node = Node::start().await;
    let (_, id) = node.running().await;
    let linux = LinuxContainerResources {
        memory_limit_in_bytes: 64 << 20,
        cpu_shares: 512,
        ..Default::default()
    };
    let update = UpdateContainerResourcesRequest {
        container_id: id.clone(),
        linux: Some(linux.clone()),
        ..Default::default()
    };
    node.runtime
        .update_container_resources(update.clone())
        .await
        .unwrap();
    let reported = node
        .status(&id)
        .await
        .unwrap()
        .resources
        .unwrap()
        .linux
        .unwrap();
    assert_eq!(reported, linux);
    node.world.fail("update");
    node.runtime
        .update_container_resources(update.clone())
        .await
        .unwrap_err();
    node.world.end(&id, 0);
    node.exited(&id).await;
    let error = node
        .runtime
        .update_container_resources(update)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn stats_are_those_of_running_containers() {
    let mut node = Node::start().await;
    let (pod, id) = node.running().await;
    let one = ContainerStatsRequest {
        container_id: id.clone(),
    };
    let one = node
        .runtime
        .container_stats(one)
        .await
        .unwrap()
        .into_inner()
        .stats
        .unwrap();
    assert_eq!(one.attributes.unwrap().id, id);
    assert!(one.cpu.unwrap().timestamp > 0 && one.memory.unwrap().timestamp > 0);
    let by_pod = ListContainerStatsRequest {
        filter: Some(ContainerStatsFilter {
            pod_sandbox_id: pod.clone(),
            ..Default::default()
        }),
    };
    let listed = node
        .runtime
        .list_container_stats(by_pod.clone())
        .await
        .unwrap();
    assert_eq!(listed.into_inner().stats.len(), 1);
    let of_pod = PodSandboxStatsRequest {
        pod_sandbox_id: pod,
    };
    let of_pod = node
        .runtime
        .pod_sandbox_stats(of_pod)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(of_pod.stats.unwrap().linux.unwrap().containers.len(), 1);
    node.world.end(&id, 0);
    node.exited(&id).await;
    let listed = node.runtime.list_container_stats(by_pod).await.unwrap();
    assert!(listed.into_inner().stats.is_empty());
}
