//! Port-forward: both stacks of loopback, many connections at once, half-close, refusal.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use e2e::runtime::{Pod, Runtime, SOCKET, container_config, pod_config};
use e2e::spdy::{Connection, Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;

/// Where the pod sends everything back.
const ECHO: u16 = 8081;
/// Where it serves a file, over one stack each.
const FILE: [(&str, u16); 2] = [("127.0.0.1", 8084), ("[::1]", 8082)];
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
    let mut script = format!("echo a file > /tmp/file; nc -ll -p {ECHO} -e cat & ");
    for (host, port) in FILE {
        script += &format!("httpd -p {host}:{port} -h /tmp; ");
    }
    script += "sleep 1000";
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

async fn both_stacks_answer(client: &mut Connection) -> Result<()> {
    for (number, (host, port)) in FILE.into_iter().enumerate() {
        let said = ask(
            client,
            port,
            1000 * (number + 1),
            b"GET /file HTTP/1.0\r\n\r\n",
        )
        .await?;
        let said = String::from_utf8_lossy(&said);
        assert!(said.ends_with("\r\n\r\na file\n"), "{host}: {said}");
    }
    // What the port still says after our end is what a half-close is for.
    let said = ask(client, ECHO, 3000, b"there and back").await?;
    assert_eq!(said, b"there and back");
    Ok(())
}

/// What a port answers. It takes a moment until somebody listens in the pod.
async fn ask(
    client: &mut Connection,
    port: u16,
    mut number: usize,
    what: &[u8],
) -> Result<Vec<u8>> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let streams = client.open_port(port, number).await?;
        client.send(streams.data, what).await?;
        client.finish(streams.data).await?;
        let mut said = client.collect(&[streams.data, streams.error]).await?;
        match said
            .remove(&streams.error)
            .filter(|error| !error.is_empty())
        {
            None => return Ok(said.remove(&streams.data).unwrap_or_default()),
            Some(error) if Instant::now() > deadline => {
                bail!("port {port}: {}", String::from_utf8_lossy(&error));
            }
            Some(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
        number += 1;
    }
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

/// All are open at once, each with bytes of its own under way in both directions.
async fn many_share_a_connection(client: &mut Connection) -> Result<()> {
    let text = |number: usize| format!("this is number {number};").repeat(200);
    let mut all = Vec::new();
    for number in 0..MANY {
        let streams = client.open_port(ECHO, 100 + number).await?;
        client.send(streams.data, b"?").await?;
        // The echo takes few strangers at a time.
        while client.next().await? != Some(Frame::Data(streams.data, false)) {}
        all.push(streams);
    }
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
        .arg(format!("{LOCAL}:{ECHO}"))
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
