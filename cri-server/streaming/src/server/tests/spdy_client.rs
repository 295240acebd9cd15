//! A client that speaks SPDY as the Kubernetes clients do.

use std::collections::HashMap;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use super::*;
use crate::spdy::frame::{Decoder, Frame, data_head};
use crate::spdy::header_block::{Deflater, Inflater};

/// A connection to the server.
pub(super) struct SpdyClient<S = TcpStream> {
    pub(super) io: S,
    decoder: Decoder,
    deflater: Deflater,
    inflater: Inflater,
    next: u32,
    /// What came, by stream.
    pub(super) received: HashMap<u32, Vec<u8>>,
    /// Streams in the order in which the server ended them.
    pub(super) ended: Vec<u32>,
    pub(super) replied: Vec<u32>,
    pub(super) reset: Vec<u32>,
    pub(super) pings: Vec<u32>,
}

impl SpdyClient {
    /// Upgrades to the first of `protocols` that the server takes.
    pub(super) async fn connect(url: &str, protocols: &[&str]) -> Self {
        let mut headers = String::from("Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n");
        for protocol in protocols {
            headers += &format!("X-Stream-Protocol-Version: {protocol}\r\n");
        }
        let (io, head) = ask(url, "POST", &headers).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        // Go's clients forget a `Connection` that has anything else in it.
        assert!(head.contains("connection: Upgrade\r\n"), "{head}");
        Self::over(io)
    }

    /// Opens the streams of a command: error, stdin if wanted, stdout, stderr.
    pub(super) async fn exec(url: &str, types: &[&str]) -> (Self, Vec<u32>) {
        let mut client = Self::connect(url, &["v5.channel.k8s.io", "v4.channel.k8s.io"]).await;
        let mut ids = Vec::new();
        for kind in types {
            ids.push(client.open(&[("streamtype", kind)]).await);
        }
        (client, ids)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> SpdyClient<S> {
    pub(super) fn over(io: S) -> Self {
        Self {
            io,
            decoder: Decoder::default(),
            deflater: Deflater::new(),
            inflater: Inflater::new(),
            next: 1,
            received: HashMap::new(),
            ended: Vec::new(),
            replied: Vec::new(),
            reset: Vec::new(),
            pings: Vec::new(),
        }
    }

    /// Opens a stream and waits until the server has taken or refused it.
    pub(super) async fn open(&mut self, headers: &[(&str, &str)]) -> u32 {
        let id = self.next;
        self.next += 2;
        let mut body = id.to_be_bytes().to_vec();
        body.extend([0; 6]);
        body.extend(self.deflater.write(headers));
        self.control(1, &body).await;
        while !self.replied.contains(&id) && !self.reset.contains(&id) {
            assert!(self.step().await, "the server closed the connection");
        }
        id
    }

    pub(super) async fn control(&mut self, kind: u16, body: &[u8]) {
        let mut bytes = BytesMut::new();
        bytes.put_u16(0x8003);
        bytes.put_u16(kind);
        bytes.put_u32(u32::try_from(body.len()).unwrap());
        bytes.put_slice(body);
        self.io.write_all(&bytes).await.unwrap();
        self.io.flush().await.unwrap();
    }

    pub(super) async fn send(&mut self, id: u32, payload: &[u8]) {
        self.io
            .write_all(&data_head(id, false, payload.len()))
            .await
            .unwrap();
        self.io.write_all(payload).await.unwrap();
        self.io.flush().await.unwrap();
    }

    pub(super) async fn finish(&mut self, id: u32) {
        self.io.write_all(&data_head(id, true, 0)).await.unwrap();
        self.io.flush().await.unwrap();
    }

    /// Takes what comes next; false at the end of the connection.
    pub(super) async fn step(&mut self) -> bool {
        loop {
            if let Some(frame) = self.decoder.next().unwrap() {
                self.take(frame);
                return true;
            }
            match self.io.read_buf(&mut self.decoder.buffer).await {
                Ok(1..) => {}
                _ => return false,
            }
        }
    }

    fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Data {
                stream,
                fin,
                payload,
            } => {
                // The Go client drops data of a stream that it has no reply for.
                assert!(self.replied.contains(&stream), "data before the reply");
                assert!(!self.ended.contains(&stream), "data after the end");
                self.received
                    .entry(stream)
                    .or_default()
                    .extend_from_slice(&payload);
                if fin {
                    self.ended.push(stream);
                }
            }
            Frame::Headers { stream, block, .. } => {
                self.inflater.read(&block).unwrap();
                self.replied.push(stream);
            }
            Frame::RstStream { stream } => self.reset.push(stream),
            Frame::Ping { id } => self.pings.push(id),
            Frame::GoAway | Frame::Ignored => {}
            Frame::SynStream { .. } => panic!("the server opens no streams"),
        }
    }

    /// Reads until the server has ended all of these streams.
    pub(super) async fn until_ended(&mut self, ids: &[u32]) {
        while !ids.iter().all(|id| self.ended.contains(id)) {
            assert!(self.step().await, "the server closed the connection");
        }
    }

    pub(super) fn text(&self, id: u32) -> String {
        let bytes = self.received.get(&id).cloned().unwrap_or_default();
        String::from_utf8(bytes).unwrap()
    }
}
