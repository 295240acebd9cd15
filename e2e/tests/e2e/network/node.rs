//! The node as the network tests see it: commands in it, and a page that it serves itself.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How long an emulated node may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a command in the node prints; it must succeed.
pub(super) fn output(command: &str) -> Result<String> {
    let mut words = command.split(' ');
    let program = words.next().context("a command has a program")?;
    let output = Command::new(program)
        .args(words)
        .output()
        .with_context(|| format!("run {command}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command}: {}: {said}",
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The page at `http://address/`, as a client on the node gets it.
pub(super) async fn get(address: impl Into<SocketAddr>) -> Result<String> {
    let address = address.into();
    let page = tokio::time::timeout(PATIENCE, request(address)).await;
    page.context("no answer")
        .and_then(|page| page)
        .with_context(|| format!("get http://{address}/"))
}

async fn request(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, page) = answer.split_once("\r\n\r\n").context("a head and a page")?;
    ensure!(head.contains(" 200 "), "{head}");
    Ok(page.to_owned())
}

/// As in a URL.
pub(super) fn host(address: &IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// A page that the node serves, on every address, until this is dropped.
pub(super) struct Page {
    pub(super) port: u16,
    server: JoinHandle<()>,
}

impl Page {
    pub(super) async fn serve(text: &'static str) -> Result<Self> {
        let listener = TcpListener::bind("[::]:0").await.context("listen")?;
        let port = listener.local_addr()?.port();
        let server = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A client that goes away is told from a page by whoever wants the page.
                let _ = answer(client, text).await;
            }
        });
        Ok(Self { port, server })
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(mut client: TcpStream, text: &str) -> Result<()> {
    // What is asked for does not matter, but that it is read: else closing would reset the connection.
    let mut request = [0; 1024];
    ensure!(client.read(&mut request).await? > 0, "a request");
    let page = format!(
        "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    client.write_all(page.as_bytes()).await?;
    Ok(client.shutdown().await?)
}
