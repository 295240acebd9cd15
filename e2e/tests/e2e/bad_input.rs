//! Requests that make no sense: each gets the right code, a message that says what is wrong, and
//! leaves nothing.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::runtime::{Pod, Runtime, container_config, pod_config, spec};
use k8s_cri::v1::{
    Capability, ContainerConfig, CreateContainerRequest, Device, ExecSyncRequest, Int64Value,
    ListPodSandboxRequest, Mount, PodSandboxConfig, RunPodSandboxRequest,
};
use tonic::{Code, Status};

const PATIENCE: Duration = Duration::from_secs(10);

/// What is wrong with a pod, and the words an operator must see.
type BadPod = (fn(&mut PodSandboxConfig), Code, &'static [&'static str]);

const BAD_PODS: [BadPod; 6] = [
    (
        |pod| pod.metadata = None,
        Code::InvalidArgument,
        &["metadata"],
    ),
    (
        |pod| pod.metadata.as_mut().expect("it has some").name.clear(),
        Code::InvalidArgument,
        &["name"],
    ),
    (
        |pod| pod.log_directory = "var/log".into(),
        Code::InvalidArgument,
        &["log_directory", "var/log"],
    ),
    (
        |pod| pod.hostname = "a/b".into(),
        Code::InvalidArgument,
        &["hostname", "a/b"],
    ),
    (
        |pod| {
            let linux = pod.linux.as_mut().expect("it has some");
            linux.sysctls.insert("kernel.panic".into(), "1".into());
        },
        Code::InvalidArgument,
        &["kernel.panic"],
    ),
    (
        |pod| pod.linux.as_mut().expect("it has some").cgroup_parent = "../up".into(),
        Code::InvalidArgument,
        &["cgroup_parent", "../up"],
    ),
];

#[tokio::test]
async fn a_pod_that_makes_no_sense_is_refused_with_the_reason() -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let before = pods(&mut runtime).await?;
    for (spoil, code, words) in BAD_PODS {
        let mut config = pod_config("bad");
        spoil(&mut config);
        let request = RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: String::new(),
        };
        let refused = runtime.runtime.run_pod_sandbox(request).await;
        check(refused.expect_err(&words.concat()), code, words);
    }
    assert_eq!(pods(&mut runtime).await?, before);
    Ok(())
}

/// What is wrong with a container, and the words an operator must see.
type BadContainer = (fn(&mut ContainerConfig), Code, &'static [&'static str]);

const BAD_CONTAINERS: [BadContainer; 9] = [
    (|c| c.metadata = None, Code::InvalidArgument, &["metadata"]),
    (|c| c.image = None, Code::InvalidArgument, &["image"]),
    (
        |c| c.image = Some(spec("registry.k8s.io/never/pulled:1")),
        Code::NotFound,
        &["never/pulled", "pull"],
    ),
    (
        |c| c.log_path = "../../etc/shadow".into(),
        Code::InvalidArgument,
        &["log_path", "../../etc/shadow"],
    ),
    (
        |c| c.working_dir = "relative".into(),
        Code::InvalidArgument,
        &["working_dir", "relative"],
    ),
    (
        |c| c.mounts.push(mount("/etc", "mnt")),
        Code::InvalidArgument,
        &["mnt", "absolute"],
    ),
    (
        |c| {
            c.devices.push(Device {
                container_path: "/dev/x".into(),
                host_path: "/dev/no-such-device".into(),
                permissions: "rwm".into(),
            });
        },
        Code::InvalidArgument,
        &["/dev/no-such-device"],
    ),
    (
        |c| {
            security(c).capabilities = Some(Capability {
                add_capabilities: vec!["FLY".into()],
                ..Default::default()
            });
        },
        Code::InvalidArgument,
        &["FLY"],
    ),
    (
        |c| security(c).run_as_group = Some(Int64Value { value: 7 }),
        Code::InvalidArgument,
        &["run_as_group", "run_as_user"],
    ),
];

#[tokio::test]
async fn a_container_that_makes_no_sense_is_refused_with_the_reason() -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    runtime.pull(e2e::images::BUSYBOX).await?;
    let mut pod = runtime.run_pod("", &pod_config("host")).await?;
    for (spoil, code, words) in BAD_CONTAINERS {
        let mut config = container_config("bad", &["true"]);
        spoil(&mut config);
        let refused = create(&mut runtime, &pod, config).await;
        check(refused.expect_err(&words.concat()), code, words);
    }
    // The name was given back each time.
    let mut good = pod.start(&container_config("bad", &["true"])).await?;
    assert_eq!(good.exited().await?.exit_code, 0);
    let too_late = ExecSyncRequest {
        container_id: good.id.clone(),
        cmd: vec!["true".into()],
        timeout: 1,
    };
    let refused = runtime.runtime.exec_sync(too_late).await;
    check(
        refused.expect_err("it is over"),
        Code::FailedPrecondition,
        &["exited"],
    );
    pod.finish().await
}

fn mount(host_path: &str, container_path: &str) -> Mount {
    Mount {
        container_path: container_path.into(),
        host_path: host_path.into(),
        ..Default::default()
    }
}

fn security(config: &mut ContainerConfig) -> &mut k8s_cri::v1::LinuxContainerSecurityContext {
    let linux = config.linux.as_mut().expect("it has some");
    linux.security_context.as_mut().expect("it has one")
}

async fn create(
    runtime: &mut Runtime,
    pod: &Pod,
    config: ContainerConfig,
) -> std::result::Result<(), Status> {
    let request = CreateContainerRequest {
        pod_sandbox_id: pod.id.clone(),
        config: Some(config),
        sandbox_config: Some(pod.config.clone()),
    };
    runtime.runtime.create_container(request).await.map(|_| ())
}

fn check(status: Status, code: Code, words: &[&str]) {
    assert_eq!(status.code(), code, "{words:?}: {status:?}");
    for word in words {
        assert!(status.message().contains(word), "no {word}: {status:?}");
    }
}

async fn pods(runtime: &mut Runtime) -> Result<usize> {
    let list = runtime
        .runtime
        .list_pod_sandbox(ListPodSandboxRequest::default())
        .await;
    Ok(list.context("list pods")?.into_inner().items.len())
}
