//! Port-forward: both stacks of loopback, many connections at once, half-close, refusal.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use e2e::runtime::{Pod, Runtime, SOCKET, container_config, pod_config};
use e2e::spdy::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;

/// Where the pod sends everything back, over IPv4 and over IPv6.
const ECHO_V4: u16 = 8081;
const ECHO_V6: u16 = 8082;
/// Where nobody listens.
const CLOSED: u16 = 8083;
/// Of this machine, for crictl.
const LOCAL: u16 = 18081;

/// Connections at once.
const MANY: usize = 40;

under_every_handler!(ports_of_a_pod_are_as_near_as_those_of_the_node);

async fn ports_of_a_pod_are_as_near_as_those_of_the_node(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.run_pod(handler, &pod_config("ports")).await?;
    let script = format!(
        "nc -lk -s 127.0.0.1 -p {ECHO_V4} -e cat & nc -lk -s ::1 -p {ECHO_V6} -e cat & sleep 1000"
    );
    pod.start(&container_config("c", &["sh", "-c", &script]))
        .await?;
    let url = pod.ports_url(&[]).await?;
    let mut client = Connection::connect(&url, "portforward.k8s.io").await?;
    both_stacks_answer(&mut client).await?;
    a_refusal_is_told_and_ends_nothing_else(&mut client).await?;
    many_share_a_connection(&mut client).await?;
    crictl_forwards_as_well(&pod).await?;
    pod.finish().await
}

/// It takes a moment until somebody listens in the pod.
async fn both_stacks_answer(client: &mut Connection) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    for (index, port) in [ECHO_V4, ECHO_V6].into_iter().enumerate() {
        let mut attempt = 0;
        loop {
            let streams = client.open_port(port, 1000 * (index + 1) + attempt).await?;
            client.send(streams.data, b"there and back").await?;
            // What the port still says after our end is what a half-close is for.
            client.finish(streams.data).await?;
            let said = client.collect(&[streams.data, streams.error]).await?;
            match said.get(&streams.error).filter(|error| !error.is_empty()) {
                None => {
                    assert_eq!(said[&streams.data], b"there and back");
                    break;
                }
                Some(error) if Instant::now() > deadline => {
                    bail!("port {port}: {}", String::from_utf8_lossy(error));
                }
                Some(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
            attempt += 1;
        }
    }
    Ok(())
}

async fn a_refusal_is_told_and_ends_nothing_else(client: &mut Connection) -> Result<()> {
    let streams = client.open_port(CLOSED, 1).await?;
    let said = client.collect(&[streams.data, streams.error]).await?;
    let error = String::from_utf8_lossy(&said[&streams.error]).to_lowercase();
    assert!(
        error.contains("8083") && error.contains("connection refused"),
        "{error}"
    );
    Ok(())
}

async fn many_share_a_connection(client: &mut Connection) -> Result<()> {
    let mut all = Vec::new();
    for number in 0..MANY {
        all.push(client.open_port(ECHO_V4, 100 + number).await?);
    }
    let text = |number: usize| format!("this is number {number};").repeat(200);
    for (number, streams) in all.iter().enumerate() {
        client.send(streams.data, text(number).as_bytes()).await?;
    }
    for streams in &all {
        client.finish(streams.data).await?;
    }
    let ids: Vec<u32> = all
        .iter()
        .flat_map(|port| [port.data, port.error])
        .collect();
    let said = client.collect(&ids).await?;
    for (number, streams) in all.iter().enumerate() {
        let back = said
            .get(&streams.data)
            .map(|bytes| String::from_utf8_lossy(bytes));
        assert_eq!(back.unwrap_or_default(), text(number));
    }
    Ok(())
}

async fn crictl_forwards_as_well(pod: &Pod) -> Result<()> {
    let crictl = Command::new("crictl")
        .args([
            "--runtime-endpoint",
            &format!("unix://{SOCKET}"),
            "port-forward",
            &pod.id,
        ])
        .arg(format!("{LOCAL}:{ECHO_V4}"))
        .stdout(Stdio::null())
        .spawn();
    let _crictl = Running(crictl.context("start crictl")?);
    let mut stream = connect().await?;
    stream.write_all(b"through crictl").await?;
    stream.shutdown().await?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await?;
    assert_eq!(back, b"through crictl");
    Ok(())
}

async fn connect() -> Result<TcpStream> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match TcpStream::connect(("127.0.0.1", LOCAL)).await {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() > deadline => {
                return Err(error).context("connect to crictl");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// A process that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
