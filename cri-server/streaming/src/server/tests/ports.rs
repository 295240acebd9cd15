//! Port-forward over SPDY, and through a WebSocket.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use super::spdy_client::SpdyClient;
use super::*;

/// A port where every byte is sent back, and "bye" at the end.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                writer.write_all(b"bye").await.unwrap();
            });
        }
    });
    port
}

/// A port where nobody listens.
async fn closed() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

pub(super) fn url(server: &StreamingServer, port: Vec<i32>) -> String {
    let pod_sandbox_id = "p1".to_owned();
    let request = PortForwardRequest {
        pod_sandbox_id,
        port,
    };
    server.port_forward(request).unwrap().url
}

/// Opens the two streams of a connection, as the Go client does.
async fn pair<S>(client: &mut SpdyClient<S>, port: u16, request: &str) -> [u32; 2]
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let port = port.to_string();
    let mut headers = [
        ("streamtype", "error"),
        ("port", &port),
        ("requestid", request),
    ];
    let error = client.open(&headers).await;
    client.finish(error).await;
    headers[0].1 = "data";
    [error, client.open(&headers).await]
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(client: &mut SpdyClient<S>) {
    let port = echo().await;
    let refused = pair(client, closed().await, "0").await;
    client.until_ended(&refused).await;
    assert!(client.text(refused[0]).contains("Connection refused"));
    // The connection has survived, and takes many more.
    let mut pairs = Vec::new();
    for request in 1..20 {
        pairs.push(pair(client, port, &request.to_string()).await);
    }
    for [_, data] in &pairs {
        client
            .send(*data, format!("hello {data} ").as_bytes())
            .await;
    }
    for [_, data] in &pairs {
        client.finish(*data).await;
    }
    for [error, data] in pairs {
        client.until_ended(&[error, data]).await;
        assert_eq!(client.text(data), format!("hello {data} bye"));
        assert_eq!(client.text(error), "");
    }
}

#[tokio::test]
async fn many_connections_share_one_and_a_refusal_ends_only_its_own() {
    let (server, _) = server(|_| {}).await;
    let url = url(&server, vec![]);
    let mut client = SpdyClient::connect(&url, &["portforward.k8s.io"]).await;
    talk(&mut client).await;
    drop(client);
    eventually("the session ends", || server.counts().ended == 1).await;
}

#[tokio::test]
async fn the_same_travels_inside_a_websocket() {
    let (server, _) = server(|_| {}).await;
    let url = url(&server, vec![]);
    let socket = super::websocket::connect(&url, "SPDY/3.1+portforward.k8s.io").await;
    let mut client = SpdyClient::over(crate::websocket::Tunnel::new(socket));
    talk(&mut client).await;
    drop(client);
    eventually("the session ends", || server.counts().ended == 1).await;
}

#[tokio::test]
async fn a_connection_that_the_client_resets_is_closed_at_the_port() {
    let (server, _) = server(|_| {}).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = url(&server, vec![]);
    let mut client = SpdyClient::connect(&url, &["portforward.k8s.io"]).await;
    let [error, data] = pair(&mut client, port, "1").await;
    let (mut accepted, _) = listener.accept().await.unwrap();
    let mut body = data.to_be_bytes().to_vec();
    body.extend(5u32.to_be_bytes());
    client.control(3, &body).await;
    assert!(accepted.read_u8().await.is_err());
    client.until_ended(&[error]).await;
}

#[tokio::test]
async fn a_stream_without_a_port_is_refused() {
    let (server, _) = server(|_| {}).await;
    let mut client = SpdyClient::connect(&url(&server, vec![]), &["portforward.k8s.io"]).await;
    for port in ["", "0", "65536", "http"] {
        let headers = [("streamtype", "data"), ("port", port), ("requestid", "1")];
        let id = client.open(&headers).await;
        assert!(client.reset.contains(&id), "{port}");
    }
}

#[tokio::test]
async fn half_a_connection_is_given_up_after_a_while() {
    let (server, _) = server(|limits| limits.stream_creation = Duration::from_millis(300)).await;
    let mut client = SpdyClient::connect(&url(&server, vec![]), &["portforward.k8s.io"]).await;
    let headers = [("streamtype", "error"), ("port", "80"), ("requestid", "1")];
    let id = client.open(&headers).await;
    while !client.reset.contains(&id) {
        assert!(client.step().await);
    }
}

#[tokio::test]
async fn old_websocket_clients_name_the_ports_beforehand() {
    let (server, _) = server(|_| {}).await;
    let ports = [echo().await, closed().await];
    let url = url(&server, ports.map(i32::from).to_vec());
    let socket = super::websocket::connect(&url, "v4.channel.k8s.io").await;
    let received = super::websocket::exchange(socket, &[&b"\x00hello"[..]], &[]).await;
    let starts = |channel: u8, port: u16| {
        assert_eq!(
            received[&channel][..2],
            port.to_le_bytes(),
            "channel {channel}"
        );
    };
    starts(0, ports[0]);
    starts(1, ports[0]);
    starts(3, ports[1]);
    assert_eq!(received[&0][2..], *b"hello");
    let refusal = String::from_utf8_lossy(&received[&3]).into_owned();
    assert!(refusal.contains("Connection refused"), "{refusal}");
}
