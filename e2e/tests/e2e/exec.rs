//! `ExecSync`: output, exit codes, time-outs.

use std::time::Duration;

use anyhow::Result;
use e2e::runtime::{Runtime, container_config};
use k8s_cri::v1::{ContainerState, ExecSyncRequest};
use tonic::Code;

const PATIENCE: Duration = Duration::from_secs(10);

under_every_handler!(
    both_outputs_and_the_exit_code_come_back,
    a_time_out_kills_the_command_and_its_children_only,
    much_output_arrives_whole,
    a_child_left_in_the_background_does_not_hold_the_call,
);

async fn both_outputs_and_the_exit_code_come_back(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.shared_pod(handler).await?;
    let mut container = pod
        .start(&container_config("c", &["sleep", "1000"]))
        .await?;
    let done = container
        .exec(&["sh", "-c", "echo -n out; echo -n err >&2; exit 3"])
        .await?;
    assert_eq!(done.stdout, b"out");
    assert_eq!(done.stderr, b"err");
    assert_eq!(done.exit_code, 3);
    pod.clear().await
}

async fn a_time_out_kills_the_command_and_its_children_only(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.shared_pod(handler).await?;
    let mut container = pod
        .start(&container_config("c", &["sleep", "1000"]))
        .await?;
    let request = ExecSyncRequest {
        container_id: container.id.clone(),
        cmd: ["sh", "-c", "sleep 4321 & sleep 4322"]
            .map(str::to_owned)
            .into(),
        timeout: 1,
    };
    let status = runtime
        .runtime
        .exec_sync(request)
        .await
        .expect_err("timed out");
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    let left = container.output(&["ps"]).await?;
    assert!(
        !left.contains("432") && left.contains("sleep 1000"),
        "{left}"
    );
    assert_eq!(
        container.status().await?.state(),
        ContainerState::ContainerRunning
    );
    pod.clear().await
}

async fn much_output_arrives_whole(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    runtime.runtime = runtime.runtime.max_decoding_message_size(32 << 20);
    let mut pod = runtime.shared_pod(handler).await?;
    let mut container = pod
        .start(&container_config("c", &["sleep", "1000"]))
        .await?;
    let done = container
        .exec(&["dd", "if=/dev/zero", "bs=1M", "count=3"])
        .await?;
    assert_eq!(done.stdout.len(), 3 << 20);
    pod.clear().await
}

async fn a_child_left_in_the_background_does_not_hold_the_call(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.shared_pod(handler).await?;
    let mut container = pod
        .start(&container_config("c", &["sleep", "1000"]))
        .await?;
    let call = container.exec(&["sh", "-c", "sleep 600 & echo started"]);
    let done = tokio::time::timeout(Duration::from_secs(30), call).await??;
    assert_eq!(done.stdout, b"started\n");
    pod.clear().await
}
