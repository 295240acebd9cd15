//! The whole server over TCP on loopback, with clients that speak the protocols themselves.

mod exec;
mod hostile;
mod ports;
mod shell;
mod spdy_client;
mod tls;
mod websocket;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cri_api::v1::ExecRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use shell::Shell;

fn config() -> Config {
    Config {
        address: "127.0.0.1:0".parse().unwrap(),
        advertised_host: String::new(),
        tls_certificate: PathBuf::new(),
        tls_key: PathBuf::new(),
        token_timeout_s: 60,
        max_tokens: 2000,
        max_sessions: 1000,
        stream_creation_timeout_s: 30,
        idle_timeout_s: 60,
    }
}

/// A server over real processes, with limits that a test can wait for.
async fn server(change: impl FnOnce(&mut Limits)) -> (StreamingServer, Arc<Shell>) {
    let shell = Arc::new(Shell::default());
    let mut limits = Limits::new(&config());
    limits.drain = Duration::from_millis(300);
    limits.linger = Duration::from_secs(2);
    change(&mut limits);
    let server = StreamingServer::open_with(config(), limits, shell.clone()).await;
    (server.unwrap(), shell)
}

/// A request for `sh -c script` with output.
fn sh(script: &str) -> ExecRequest {
    ExecRequest {
        container_id: "c1".to_owned(),
        cmd: ["sh", "-c", script].map(str::to_owned).to_vec(),
        stdout: true,
        stderr: true,
        ..ExecRequest::default()
    }
}

/// Sends a request with these headers, and answers with the connection and the head of the answer.
async fn ask(url: &str, method: &str, headers: &str) -> (TcpStream, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    // The host is that of an API server somewhere, as it is in a cluster.
    let request = format!("{method} /{path} HTTP/1.1\r\nHost: api.example.org\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    (stream, String::from_utf8(head).unwrap())
}

/// Waits until `done`, which must come to be.
async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn it_listens_where_the_configuration_says_and_tells_the_advertised_host() {
    let mut config = config();
    config.address = "127.0.0.2:0".parse().unwrap();
    let shell = Arc::new(Shell::default());
    let server = StreamingServer::open(config.clone(), shell.clone()).await;
    let server = server.unwrap();
    let port = server.address().port();
    let url = server.exec(sh("true")).unwrap().url;
    assert!(
        url.starts_with(&format!("http://127.0.0.2:{port}/exec/")),
        "{url}"
    );
    let (_, head) = ask(&url, "GET", "").await;
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");

    config.address = "0.0.0.0:0".parse().unwrap();
    for (host, told) in [
        ("node.example.org", "node.example.org"),
        ("2001:db8::7", "[2001:db8::7]"),
    ] {
        config.advertised_host = host.to_owned();
        let server = StreamingServer::open(config.clone(), shell.clone()).await;
        let server = server.unwrap();
        let url = server.exec(sh("true")).unwrap().url;
        let port = server.address().port();
        assert!(
            url.starts_with(&format!("http://{told}:{port}/exec/")),
            "{url}"
        );
    }
}
