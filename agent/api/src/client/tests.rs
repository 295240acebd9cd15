//! Tests of connecting, against peers that behave and peers that don't.

use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::*;
use crate::v1::StreamStart;

/// A socket in the temporary directory, gone with the value.
struct Peer {
    path: PathBuf,
    listener: UnixListener,
}

impl Peer {
    fn new(name: &str) -> Self {
        let name = format!("agent-api-{}-{name}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        Self { path, listener }
    }

    fn vsock(&self) -> Address {
        Address::Vsock {
            socket: self.path.clone(),
            port: version::AGENT_PORT,
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Answers `CONNECT` with `answer`, and tells what the client then makes of it.
async fn answered(name: &str, answer: &'static [u8]) -> std::io::Result<String> {
    let peer = Peer::new(name);
    let address = peer.vsock();
    let serve = async {
        let (mut stream, _) = peer.listener.accept().await.unwrap();
        let mut line = [0; 13];
        stream.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"CONNECT 1024\n");
        stream.write_all(answer).await.unwrap();
    };
    let (opened, ()) = tokio::join!(address.open(), serve);
    let mut rest = String::new();
    opened?.read_to_string(&mut rest).await?;
    Ok(rest)
}

#[tokio::test(flavor = "current_thread")]
async fn the_handshake_eats_its_own_line_only() {
    let rest = answered("ok", b"OK 1073741824\nPRI * HTTP/2.0")
        .await
        .unwrap();
    assert_eq!(rest, "PRI * HTTP/2.0");
}

#[tokio::test(flavor = "current_thread")]
async fn a_guest_without_a_listener_is_a_refused_connection() {
    for (name, answer) in [("closed", &b""[..]), ("no", b"NO\n"), ("long", &[b'x'; 64])] {
        let error = answered(name, answer).await.unwrap_err();
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::ConnectionRefused,
            "{name}"
        );
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_is_not_there_is_unavailable() {
    let address = Address::Unix("/nonexistent/agent.sock".into());
    let error = Client::connect(&address, Duration::from_secs(5))
        .await
        .unwrap_err();
    assert_eq!(error.code(), tonic::Code::Unavailable);
    assert_eq!(error.to_string(), "reach agent at /nonexistent/agent.sock");
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_never_answers_is_given_up() {
    let peer = Peer::new("mute");
    let address = Address::Unix(peer.path.clone());
    let error = Client::connect(&address, Duration::from_millis(50))
        .await
        .unwrap_err();
    assert_eq!(error.code(), tonic::Code::DeadlineExceeded);
}

/// A client of a peer that takes the connection and says nothing.
fn client_of_a_mute(peer: &Peer) -> Client {
    let path = peer.path.clone();
    let connector = service_fn(move |_| {
        let address = Address::Unix(path.clone());
        async move { address.open().await.map(TokioIo::new) }
    });
    let agent = limited(endpoint().connect_with_connector_lazy(connector));
    Client {
        calls: agent.clone(),
        streams: agent,
        hello: HelloReply::default(),
    }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn streams_that_never_begin_are_given_up() {
    let peer = Peer::new("stuck");
    let client = client_of_a_mute(&peer);
    let limit = Duration::from_secs(120);
    let exec = tokio::time::timeout(limit, client.exec(StreamStart::default())).await;
    let attach = tokio::time::timeout(limit, client.attach(StreamStart::default())).await;
    let dial = tokio::time::timeout(limit, client.dial(80)).await;
    let errors = [
        exec.unwrap().unwrap_err(),
        attach.unwrap().unwrap_err(),
        dial.unwrap().unwrap_err(),
    ];
    let words = errors.map(|error| error.to_string());
    assert_eq!(
        words,
        ["exec", "attach", "dial"].map(|doing| format!("agent did not {doing} in time"))
    );
}
