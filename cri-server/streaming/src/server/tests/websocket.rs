//! Exec and attach over WebSocket.

use std::collections::HashMap;

use futures::{SinkExt, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;

type Client = WebSocketStream<TcpStream>;

/// Upgrades to `protocol`.
pub(super) async fn connect(url: &str, protocol: &str) -> Client {
    let mut headers = String::from(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    );
    if !protocol.is_empty() {
        headers += &format!("Sec-WebSocket-Protocol: {protocol}\r\n");
    }
    let (io, head) = ask(url, "GET", &headers).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains(protocol), "{head}");
    WebSocketStream::from_raw_socket(io, Role::Client, None).await
}

/// Sends messages, and collects by channel what comes until the server closes, or until a port has said
/// hello and another one was refused.
pub(super) async fn exchange(
    mut client: Client,
    messages: &[&[u8]],
    texts: &[&str],
) -> HashMap<u8, Vec<u8>> {
    for message in messages {
        client
            .send(Message::binary(message.to_vec()))
            .await
            .unwrap();
    }
    for text in texts {
        client.send(Message::text(*text)).await.unwrap();
    }
    let mut received = HashMap::<u8, Vec<u8>>::new();
    let limit = Duration::from_secs(40);
    while let Ok(Some(Ok(message))) = tokio::time::timeout(limit, client.next()).await {
        match message {
            Message::Binary(bytes) => {
                received
                    .entry(bytes[0])
                    .or_default()
                    .extend_from_slice(&bytes[1..]);
            }
            Message::Text(text) => {
                let channel = text.as_bytes()[0];
                received
                    .entry(channel)
                    .or_default()
                    .extend_from_slice(&text.as_bytes()[1..]);
            }
            Message::Close(close) => {
                assert_eq!(u16::from(close.unwrap().code), 1000);
                return received;
            }
            _ => {}
        }
        // A forwarded connection has no end of its own here.
        let len = |channel| received.get(&channel).map_or(0, Vec::len);
        if len(0) == 2 + "hello".len() && len(3) > 2 {
            return received;
        }
    }
    panic!("no end: {received:?}");
}

fn cat() -> ExecRequest {
    let mut request = sh("cat; echo err >&2; exit 4");
    request.stdin = true;
    request
}

#[tokio::test]
async fn v5_ends_stdin_and_gets_output_status_and_a_normal_close() {
    let (server, _) = server(|_| {}).await;
    let url = server.exec(cat()).unwrap().url;
    let client = connect(&url, "v5.channel.k8s.io").await;
    let messages = [&b"\x00some"[..], b"\x00 text", b"\xff\x00"];
    let received = exchange(client, &messages, &[]).await;
    assert_eq!(received[&1], b"some text");
    assert_eq!(received[&2], b"err\n");
    let status: serde_json::Value = serde_json::from_slice(&received[&3]).unwrap();
    assert_eq!(status["details"]["causes"][0]["message"], "4");
    eventually("the session ends", || server.counts().ended == 1).await;
}

#[tokio::test]
async fn the_first_message_is_empty_and_on_the_lowest_channel() {
    let (server, _) = server(|_| {}).await;
    let url = server.exec(sh("sleep 1000")).unwrap().url;
    let mut client = connect(&url, "v4.channel.k8s.io").await;
    let first = client.next().await.unwrap().unwrap();
    assert_eq!(first, Message::binary(&b"\x01"[..]));
}

#[tokio::test]
async fn base64_and_the_client_without_a_protocol_are_served() {
    let (server, _) = server(|_| {}).await;
    let url = server.exec(sh("echo hi; exit 4")).unwrap().url;
    let client = connect(&url, "v4.base64.channel.k8s.io").await;
    let received = exchange(client, &[], &[]).await;
    assert_eq!(received[&b'1'], b"aGkK");
    assert!(received.contains_key(&b'3'));
    let url = server.exec(sh("echo hi; exit 4")).unwrap().url;
    let received = exchange(connect(&url, "").await, &[], &[]).await;
    assert_eq!(received[&1], b"hi\n");
    assert!(received[&3].starts_with(b"command terminated"));
}

#[tokio::test]
async fn a_terminal_follows_its_size() {
    let (server, _) = server(|_| {}).await;
    let request = AttachRequest {
        container_id: "c1".to_owned(),
        stdin: true,
        stdout: true,
        tty: true,
        ..AttachRequest::default()
    };
    let url = server.attach(request).unwrap().url;
    let mut client = connect(&url, "v5.channel.k8s.io").await;
    let size = br#"{"Width":120,"Height":50}"#;
    client
        .send(Message::binary([&[4], &size[..]].concat()))
        .await
        .unwrap();
    let mut screen = Vec::new();
    while screen != b"120x50" {
        let message = client.next().await.unwrap().unwrap().into_data();
        assert_eq!(message[0], 1);
        screen.extend_from_slice(&message[1..]);
    }
    let received = exchange(client, &[b"\x00end", b"\xff\x00"], &[]).await;
    assert_eq!(received[&1], b"end");
    assert_eq!(received[&3], br#"{"metadata":{},"status":"Success"}"#);
}

#[tokio::test]
async fn a_client_that_closes_or_sends_too_much_at_once_is_let_go() {
    let (server, shell) = server(|limits| limits.message_bytes = 1000).await;
    let url = server.exec(sh("sleep 1000")).unwrap().url;
    let mut client = connect(&url, "v4.channel.k8s.io").await;
    client.close(None).await.unwrap();
    while let Some(Ok(_)) = client.next().await {}
    eventually("the session ends", || server.counts().clients_gone == 1).await;
    let url = server.exec(sh("sleep 1000")).unwrap().url;
    let mut client = connect(&url, "v4.channel.k8s.io").await;
    client.send(Message::binary(vec![0; 2000])).await.unwrap();
    while let Some(Ok(_)) = client.next().await {}
    eventually("the session ends", || server.counts().violations == 1).await;
    let held = || shell.held.load(std::sync::atomic::Ordering::SeqCst);
    eventually("the commands are let go", || held() == 0).await;
}
