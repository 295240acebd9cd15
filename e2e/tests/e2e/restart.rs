//! The server dies and comes back; pods never notice.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::runtime::{Runtime, container_config, pod_config};
use e2e::server;
use k8s_cri::v1::{ContainerState, PodSandboxState, PodSandboxStatusRequest};

const PATIENCE: Duration = Duration::from_secs(30);

under_every_handler!(
    a_killed_server_takes_its_pods_back,
    a_server_asked_to_end_leaves_its_pods
);

async fn a_killed_server_takes_its_pods_back(handler: &str) -> Result<()> {
    survives("KILL", handler).await
}

async fn a_server_asked_to_end_leaves_its_pods(handler: &str) -> Result<()> {
    survives("TERM", handler).await
}

async fn survives(signal: &str, handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.run_pod(handler, &pod_config("survivor")).await?;
    let counting = "i=0; while true; do i=$((i+1)); echo $i; usleep 50000; done";
    let mut counter = pod
        .start(&container_config("counter", &["sh", "-c", counting]))
        .await?;
    let mut brief = pod
        .start(&container_config("brief", &["sh", "-c", "sleep 3; exit 5"]))
        .await?;

    server::end(signal).await?;
    let at_the_end = counter.log_lines()?.len();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let meanwhile = counter.log_lines()?.len();
    assert!(meanwhile > at_the_end, "still {at_the_end} lines");
    server::start()?;
    let mut runtime = Runtime::connect(PATIENCE).await?;

    let request = PodSandboxStatusRequest {
        pod_sandbox_id: pod.id.clone(),
        verbose: false,
    };
    let status = runtime
        .runtime
        .pod_sandbox_status(request)
        .await?
        .into_inner()
        .status;
    assert_eq!(
        status.context("a status")?.state(),
        PodSandboxState::SandboxReady
    );
    assert_eq!(
        counter.status().await?.state(),
        ContainerState::ContainerRunning
    );
    assert_eq!(
        brief.exited().await?.exit_code,
        5,
        "an exit that nobody watched"
    );
    assert_eq!(counter.output(&["echo", "hello"]).await?, "hello\n");

    counter.stop(0).await?;
    counter.exited().await?;
    let lines = counter.log_lines()?;
    let numbers = lines.iter().map(|(_, _, text)| text.clone());
    assert!(
        numbers.eq((1..=lines.len()).map(|n| n.to_string())),
        "no line is lost"
    );
    assert!(lines.len() >= meanwhile);
    pod.finish().await
}
