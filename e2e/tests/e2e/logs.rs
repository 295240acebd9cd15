//! Container logs: format, rotation, and that nothing is lost.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use e2e::runtime::{Runtime, container_config};
use k8s_cri::v1::ReopenContainerLogRequest;

const PATIENCE: Duration = Duration::from_secs(10);

under_every_handler!(
    every_line_is_there_when_the_exit_shows,
    a_rotated_log_goes_on_in_a_new_file
);

async fn every_line_is_there_when_the_exit_shows(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.shared_pod(handler).await?;
    let script = "seq 1 20000; head -c 40000 /dev/zero | tr '\\0' x; echo; echo -n end";
    let mut container = pod
        .start(&container_config("c", &["sh", "-c", script]))
        .await?;
    container.exited().await?;
    let lines = container.log_lines()?;
    let numbers = lines.iter().take(20000).map(|(_, _, text)| text.clone());
    assert!(
        numbers.eq((1..=20000).map(|n| n.to_string())),
        "{} lines",
        lines.len()
    );
    let long: String = lines[20000..lines.len() - 1]
        .iter()
        .map(|(_, _, t)| t.as_str())
        .collect();
    assert_eq!(long, "x".repeat(40000), "a long line is split and whole");
    assert_eq!(lines[20000].1, "P", "its first piece is marked partial");
    assert_eq!(
        lines[lines.len() - 1].2,
        "end",
        "a last line without an end is kept"
    );
    pod.clear().await
}

async fn a_rotated_log_goes_on_in_a_new_file(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.shared_pod(handler).await?;
    let script = "i=0; while true; do i=$((i+1)); echo $i; usleep 20000; done";
    let mut container = pod
        .start(&container_config("c", &["sh", "-c", script]))
        .await?;
    tokio::time::sleep(Duration::from_secs(2)).await;

    let old = format!("{}.old", container.log);
    fs::rename(&container.log, &old)?;
    let request = ReopenContainerLogRequest {
        container_id: container.id.clone(),
    };
    runtime.runtime.reopen_container_log(request).await?;
    assert!(
        fs::exists(&container.log)?,
        "the new file exists when the call returns"
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    container.stop(0).await?;
    container.exited().await?;

    let new = container.log_lines()?;
    container.log = old;
    let all: Vec<_> = container
        .log_lines()?
        .into_iter()
        .chain(new)
        .map(|(_, _, t)| t)
        .collect();
    assert!(
        all.iter().map(String::as_str).eq((1..=all.len())
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str)),
        "no line lost or doubled"
    );
    pod.clear().await
}
