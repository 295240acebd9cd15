//! Exec and attach with streams of their own, as `kubectl` has them over WebSocket.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::runtime::{Runtime, container_config, pod_config};
use futures::{SinkExt, StreamExt};
use k8s_cri::v1::{AttachRequest, ExecRequest};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tonic::Code;

const PATIENCE: Duration = Duration::from_secs(10);

/// Kubernetes' protocol: each message begins with the number of its channel.
const PROTOCOL: &str = "v5.channel.k8s.io";
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const CLOSE: u8 = 255;

under_every_handler!(
    exec_has_streams_and_an_exit_code,
    attach_joins_what_runs,
    a_container_that_does_not_run_has_no_url,
);

async fn exec_has_streams_and_an_exit_code(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.run_pod(handler, &pod_config("exec")).await?;
    let container = pod
        .start(&container_config("c", &["sleep", "1000"]))
        .await?;
    let script = "cat; echo done >&2; exit 7";
    let request = ExecRequest {
        container_id: container.id.clone(),
        cmd: ["sh", "-c", script].map(Into::into).to_vec(),
        tty: false,
        stdin: true,
        stdout: true,
        stderr: true,
    };
    let url = runtime.runtime.exec(request).await?.into_inner().url;
    let mut client = Client::connect(&url).await?;
    client.send(STDIN, b"there and back").await?;
    client.send(CLOSE, &[STDIN]).await?;
    let said = client.finish().await?;
    assert_eq!(String::from_utf8_lossy(&said.stdout), "there and back");
    assert_eq!(String::from_utf8_lossy(&said.stderr), "done\n");
    assert!(said.status.contains("\"7\""), "{}", said.status);

    let again = Client::connect(&url).await;
    ensure!(again.is_err(), "a URL is good for one client");
    pod.finish().await
}

async fn attach_joins_what_runs(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.run_pod(handler, &pod_config("attach")).await?;
    let mut config = container_config("c", &["sh", "-c", "read line; echo got $line; exit 3"]);
    config.stdin = true;
    config.stdin_once = true;
    let mut container = pod.start(&config).await?;
    let request = AttachRequest {
        container_id: container.id.clone(),
        stdin: true,
        tty: false,
        stdout: true,
        stderr: true,
    };
    let url = runtime.runtime.attach(request).await?.into_inner().url;
    let mut client = Client::connect(&url).await?;
    client.send(STDIN, b"a line\n").await?;
    let said = client.finish().await?;
    assert_eq!(String::from_utf8_lossy(&said.stdout), "got a line\n");
    assert_eq!(container.exited().await?.exit_code, 3);
    pod.finish().await
}

async fn a_container_that_does_not_run_has_no_url(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.run_pod(handler, &pod_config("created")).await?;
    let container = pod.create(&container_config("c", &["true"])).await?;
    let request = ExecRequest {
        container_id: container.id.clone(),
        cmd: vec!["true".into()],
        stdout: true,
        ..Default::default()
    };
    let refused = runtime.runtime.exec(request).await;
    let status = refused.expect_err("it was not started");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    pod.finish().await
}

/// What a session has sent by its end.
#[derive(Default)]
struct Said {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    status: String,
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn connect(url: &str) -> Result<Self> {
        let mut request = url.replacen("http", "ws", 1).into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("Sec-WebSocket-Protocol", PROTOCOL.parse()?);
        let (socket, _) = connect_async(request).await?;
        Ok(Self(socket))
    }

    async fn send(&mut self, channel: u8, bytes: &[u8]) -> Result<()> {
        let message = [&[channel], bytes].concat();
        Ok(self.0.send(Message::binary(message)).await?)
    }

    async fn finish(mut self) -> Result<Said> {
        let mut said = Said::default();
        let reading = async {
            while let Some(message) = self.0.next().await {
                let Ok(Message::Binary(bytes)) = message else {
                    break;
                };
                match bytes.split_first() {
                    Some((&STDOUT, bytes)) => said.stdout.extend_from_slice(bytes),
                    Some((&STDERR, bytes)) => said.stderr.extend_from_slice(bytes),
                    Some((&STATUS, bytes)) => said.status += &String::from_utf8_lossy(bytes),
                    _ => {}
                }
            }
        };
        let patience = Duration::from_secs(60);
        tokio::time::timeout(patience, reading)
            .await
            .context("the session does not end")?;
        Ok(said)
    }
}
