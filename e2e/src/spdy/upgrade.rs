//! From HTTP/1.1 to SPDY.

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest answer that is worth reading.
const ANSWER: usize = 8192;

/// A connection to the host of `url` that speaks SPDY with `protocol` on it.
pub(super) async fn upgrade(url: &str, protocol: &str) -> Result<TcpStream> {
    let rest = url.strip_prefix("http://").context("a URL with http")?;
    let (host, path) = rest.split_once('/').context("a URL with a path")?;
    let mut stream = TcpStream::connect(host)
        .await
        .with_context(|| format!("connect to {host}"))?;
    stream.set_nodelay(true)?;
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: {protocol}\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // Byte by byte: what comes after the head is SPDY.
    while !answer.ends_with(b"\r\n\r\n") && answer.len() < ANSWER {
        answer.push(stream.read_u8().await.context("read the answer")?);
    }
    let answer = String::from_utf8_lossy(&answer);
    ensure!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    Ok(stream)
}
