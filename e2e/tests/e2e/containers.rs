//! The life of a container, its security context and its limits.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::runtime::{Runtime, container_config, pod_config};
use k8s_cri::v1::{
    Capability, ContainerConfig, ContainerState, CreateContainerRequest, Int64Value, KeyValue,
    LinuxContainerResources, LinuxContainerSecurityContext, NamespaceMode, RemoveContainerRequest,
};
use tonic::Code;

const PATIENCE: Duration = Duration::from_secs(10);

under_every_handler!(
    an_exit_code_and_its_output_arrive,
    a_container_that_ignores_sigterm_is_killed_after_its_grace,
    environment_and_directory_and_user_are_as_asked,
    a_read_only_root_and_dropped_capabilities_hold,
    a_process_over_its_memory_limit_is_oom_killed,
    a_program_that_does_not_exist_is_named_in_the_error,
    containers_of_a_pod_that_share_pids_see_each_other,
    removing_twice_is_fine_and_creating_twice_gives_the_same,
);

fn security(config: &mut ContainerConfig) -> &mut LinuxContainerSecurityContext {
    let linux = config.linux.get_or_insert_default();
    linux.security_context.get_or_insert_default()
}

async fn an_exit_code_and_its_output_arrive(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.shared_pod(handler).await?;
    let script = "echo out; echo err >&2; exit 7";
    let mut container = pod
        .start(&container_config("c", &["sh", "-c", script]))
        .await?;
    let status = container.exited().await?;
    assert_eq!((status.exit_code, status.reason.as_str()), (7, "Error"));
    assert!(status.created_at > 0 && status.started_at >= status.created_at);
    assert!(status.finished_at >= status.started_at);
    let lines = container.log_lines()?;
    let has = |stream: &str, text: &str| {
        lines
            .iter()
            .any(|(s, tag, t)| s == stream && tag == "F" && t == text)
    };
    assert!(has("stdout", "out") && has("stderr", "err"), "{lines:?}");
    pod.clear().await
}

async fn a_container_that_ignores_sigterm_is_killed_after_its_grace(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.shared_pod(handler).await?;
    let script = "trap '' TERM; while true; do sleep 1; done";
    let mut container = pod
        .start(&container_config("c", &["sh", "-c", script]))
        .await?;
    container.stop(1).await?;
    let status = container.exited().await?;
    assert_eq!(status.exit_code, 137);
    container.stop(1).await.context("stop twice")?;
    pod.clear().await
}

async fn environment_and_directory_and_user_are_as_asked(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.shared_pod(handler).await?;
    let mut config = container_config("c", &["sleep", "1000"]);
    config.envs.push(KeyValue {
        key: "COLOUR".into(),
        value: "blue".into(),
    });
    config.working_dir = "/made/for/it".into();
    let context = security(&mut config);
    context.run_as_user = Some(Int64Value { value: 1001 });
    context.run_as_group = Some(Int64Value { value: 1002 });
    context.supplemental_groups = vec![1234, 5678];
    let mut container = pod.start(&config).await?;
    let said = container
        .output(&["sh", "-c", "echo $COLOUR; pwd; id -u; id -g; id -G"])
        .await?;
    assert_eq!(said, "blue\n/made/for/it\n1001\n1002\n1002 1234 5678\n");
    pod.clear().await
}

async fn a_read_only_root_and_dropped_capabilities_hold(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.shared_pod(handler).await?;
    let mut config = container_config("c", &["sleep", "1000"]);
    let context = security(&mut config);
    context.readonly_rootfs = true;
    context.no_new_privs = true;
    context.masked_paths = vec!["/proc/kcore".into()];
    context.capabilities = Some(Capability {
        drop_capabilities: vec!["ALL".into()],
        ..Default::default()
    });
    let mut container = pod.start(&config).await?;
    let touch = container.exec(&["touch", "/file"]).await?;
    assert!(String::from_utf8_lossy(&touch.stderr).contains("Read-only file system"));
    let status = container.output(&["cat", "/proc/self/status"]).await?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|l| l.strip_prefix(name))
            .map(str::trim)
    };
    assert_eq!(field("CapBnd:"), Some("0000000000000000"));
    assert_eq!(field("NoNewPrivs:"), Some("1"));
    pod.clear().await
}

async fn a_process_over_its_memory_limit_is_oom_killed(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.shared_pod(handler).await?;
    let mut config = container_config(
        "c",
        &["sh", "-c", "sleep 1; dd if=/dev/zero of=/dev/null bs=64M"],
    );
    config.linux.get_or_insert_default().resources = Some(LinuxContainerResources {
        memory_limit_in_bytes: 15 << 20,
        memory_swap_limit_in_bytes: 15 << 20,
        ..Default::default()
    });
    let mut container = pod.start(&config).await?;
    let status = container.exited().await?;
    assert_eq!(
        (status.exit_code, status.reason.as_str()),
        (137, "OOMKilled")
    );
    pod.clear().await
}

async fn a_program_that_does_not_exist_is_named_in_the_error(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.shared_pod(handler).await?;
    let failed = pod
        .start(&container_config("c", &["/no/such/program"]))
        .await;
    let error = format!("{:#}", failed.err().context("an error")?);
    assert!(error.contains("/no/such/program"), "{error}");
    pod.clear().await
}

async fn containers_of_a_pod_that_share_pids_see_each_other(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut config = pod_config("shared");
    let linux = config.linux.as_mut().context("linux")?;
    let options = &mut linux
        .security_context
        .as_mut()
        .context("context")?
        .namespace_options;
    options.as_mut().context("namespaces")?.pid = NamespaceMode::Pod.into();
    let mut pod = runtime.run_pod(handler, &config).await?;
    let shared = |name: &str, command: &[&str]| {
        let mut config = container_config(name, command);
        let options = &mut security(&mut config).namespace_options;
        options.get_or_insert_default().pid = NamespaceMode::Pod.into();
        config
    };
    pod.start(&shared("one", &["sleep", "4321"])).await?;
    let mut two = pod.start(&shared("two", &["sleep", "1234"])).await?;
    let seen = two.output(&["ps"]).await?;
    assert!(
        seen.contains("sleep 4321") && seen.contains("sleep 1234"),
        "{seen}"
    );
    pod.finish().await
}

async fn removing_twice_is_fine_and_creating_twice_gives_the_same(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.shared_pod(handler).await?;
    let config = container_config("c", &["sleep", "1000"]);
    let mut first = pod.create(&config).await?;
    let second = pod.create(&config).await?;
    assert_eq!(first.id, second.id);
    assert_eq!(
        first.status().await?.state(),
        ContainerState::ContainerCreated
    );
    let remove = RemoveContainerRequest {
        container_id: first.id.clone(),
    };
    runtime.runtime.remove_container(remove.clone()).await?;
    runtime.runtime.remove_container(remove).await?;
    pod.clear().await
}

#[tokio::test]
async fn a_container_for_a_pod_that_is_not_there_is_refused() -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let request = CreateContainerRequest {
        pod_sandbox_id: "0".repeat(64),
        config: Some(container_config("c", &["true"])),
        sandbox_config: Some(pod_config("absent")),
    };
    let status = runtime
        .runtime
        .create_container(request)
        .await
        .expect_err("refused");
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    Ok(())
}
