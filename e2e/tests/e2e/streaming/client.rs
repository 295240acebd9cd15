//! A client that speaks WebSocket, as `kubectl` does.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Kubernetes' protocol: each message begins with the number of its channel.
const PROTOCOL: &str = "v5.channel.k8s.io";
pub(super) const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
pub(super) const CLOSE: u8 = 255;

/// What a session has sent by its end.
#[derive(Default)]
pub(super) struct Said {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) status: String,
}

/// A session of exec or attach.
pub(super) struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    pub(super) async fn connect(url: &str) -> Result<Self> {
        let mut request = url.replacen("http", "ws", 1).into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("Sec-WebSocket-Protocol", PROTOCOL.parse()?);
        let (socket, _) = connect_async(request).await?;
        Ok(Self(socket))
    }

    pub(super) async fn send(&mut self, channel: u8, bytes: &[u8]) -> Result<()> {
        let message = [&[channel], bytes].concat();
        Ok(self.0.send(Message::binary(message)).await?)
    }

    pub(super) async fn finish(mut self) -> Result<Said> {
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
