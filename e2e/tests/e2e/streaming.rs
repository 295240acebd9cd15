//! Exec, attach and port-forward, with clients over SPDY, over WebSocket and at a terminal.

mod attach;
mod bulk;
mod client;
mod ports;
mod security;
mod soak;
mod terminal;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use client::{CLOSE, Client, STDIN};
use e2e::runtime::{Runtime, Streams, container_config};
use k8s_cri::v1::{ExecRequest, StatusRequest};
use tonic::Code;

const PATIENCE: Duration = Duration::from_secs(10);

under_every_handler!(exec_has_streams_and_an_exit_code);

async fn exec_has_streams_and_an_exit_code(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.shared_pod(handler).await?;
    let mut container = pod
        .create(&container_config("c", &["sleep", "1000"]))
        .await?;
    let request = ExecRequest {
        container_id: container.id.clone(),
        cmd: vec!["true".into()],
        stdout: true,
        ..Default::default()
    };
    let status = runtime.runtime.exec(request).await;
    let status = status.expect_err("it was not started");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");

    container.start().await?;
    let command = ["sh", "-c", "cat; echo done >&2; exit 7"];
    let url = container.exec_url(&command, Streams::All).await?;
    let mut client = Client::connect(&url).await?;
    client.send(STDIN, b"there and back").await?;
    client.send(CLOSE, &[STDIN]).await?;
    let said = client.finish().await?;
    assert_eq!(String::from_utf8_lossy(&said.stdout), "there and back");
    assert_eq!(String::from_utf8_lossy(&said.stderr), "done\n");
    assert!(said.status.contains("\"7\""), "{}", said.status);

    let again = Client::connect(&url).await;
    ensure!(again.is_err(), "a URL is good for one client");
    an_operator_sees_it_counted(&mut runtime).await?;
    pod.clear().await
}

async fn an_operator_sees_it_counted(runtime: &mut Runtime) -> Result<()> {
    let request = StatusRequest { verbose: true };
    let mut info = runtime.runtime.status(request).await?.into_inner().info;
    let counts = info.remove("streaming").context("info on streaming")?;
    let counts: serde_json::Value = serde_json::from_str(&counts)?;
    for count in ["urls", "started", "refused", "sentBytes"] {
        let number = counts[count].as_u64();
        ensure!(number.is_some_and(|number| number > 0), "{count}: {counts}");
    }
    Ok(())
}
