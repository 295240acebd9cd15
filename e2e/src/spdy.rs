//! A client of SPDY/3.1 as the Kubernetes clients are: it opens streams, and takes frames as they come.

mod upgrade;

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use flate2::{Compress, Compression, FlushCompress};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

const FIN: u8 = 1;
const READ: usize = 256 * 1024;

/// What the server sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The server has taken a stream.
    Reply(u32),
    /// Bytes on a stream, which [`Connection::payload`] has; the flag says whether they are its last.
    Data(u32, bool),
    /// The server has ended a stream, or refused it.
    Reset(u32),
    /// An answer to a ping.
    Pong(u32),
    /// Of no interest.
    Other,
}

/// A connection to a streaming server.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    headers: Compress,
    last: u32,
    /// Its first bytes are what the last frame carried. It only grows: to fill it anew for each frame
    /// would be most of the work.
    buffer: Vec<u8>,
    carried: usize,
}

impl Connection {
    /// Goes to `url`, and speaks `protocol` (`v4.channel.k8s.io`, `portforward.k8s.io`) from then on.
    pub async fn connect(url: &str, protocol: &str) -> Result<Self> {
        let stream = upgrade::upgrade(url, protocol).await?;
        Ok(Self::over(stream))
    }

    fn over(stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self {
            reader: BufReader::with_capacity(READ, reader),
            writer,
            // Without the dictionary, which a client may use or not.
            headers: Compress::new(Compression::fast(), true),
            last: 0,
            buffer: Vec::new(),
            carried: 0,
        }
    }

    /// Opens a stream with these headers, whose names are in lower case.
    pub async fn open(&mut self, headers: &[(&str, &str)]) -> Result<u32> {
        // Clients have the odd ids.
        self.last = if self.last == 0 { 1 } else { self.last + 2 };
        let mut body = self.last.to_be_bytes().to_vec();
        body.extend([0; 6]);
        body.extend(self.block(headers)?);
        self.control(1, &body).await?;
        Ok(self.last)
    }

    /// Opens the streams of a command, by their `streamType`.
    pub async fn open_all(&mut self, types: &[&str]) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for kind in types {
            ids.push(self.open(&[("streamtype", kind)]).await?);
        }
        Ok(ids)
    }

    /// Opens the two streams of a forwarded connection: for errors, which it half-closes at once, and
    /// for data.
    pub async fn open_port(&mut self, port: u16, request: usize) -> Result<Port> {
        let (port, request) = (port.to_string(), request.to_string());
        let headers = |kind| {
            [
                ("streamtype", kind),
                ("port", &*port),
                ("requestid", &*request),
            ]
        };
        let error = self.open(&headers("error")).await?;
        self.finish(error).await?;
        let data = self.open(&headers("data")).await?;
        Ok(Port { error, data })
    }

    /// Sends bytes on a stream.
    pub async fn send(&mut self, stream: u32, payload: &[u8]) -> Result<()> {
        self.data(stream, 0, payload).await
    }

    /// Sends nothing more on a stream.
    pub async fn finish(&mut self, stream: u32) -> Result<()> {
        self.data(stream, FIN, &[]).await
    }

    /// Asks for a sign of life.
    pub async fn ping(&mut self, id: u32) -> Result<()> {
        self.control(6, &id.to_be_bytes()).await
    }

    /// What comes next; `None` at the end of the connection.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        let mut head = [0; 8];
        if self.reader.read(&mut head[..1]).await? == 0 {
            return Ok(None);
        }
        self.reader.read_exact(&mut head[1..]).await?;
        let [a, b, c, d, flags, length @ ..] = head;
        self.carried = u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize;
        if self.buffer.len() < self.carried {
            self.buffer.resize(self.carried, 0);
        }
        self.reader
            .read_exact(&mut self.buffer[..self.carried])
            .await?;
        let fin = flags & FIN != 0;
        if a & 0x80 == 0 {
            return Ok(Some(Frame::Data(u32::from_be_bytes([a, b, c, d]), fin)));
        }
        let id = self
            .payload()
            .first_chunk()
            .map(|id| u32::from_be_bytes(*id));
        Ok(Some(match (d, id) {
            (2, Some(id)) => Frame::Reply(id),
            (3, Some(id)) => Frame::Reset(id),
            (6, Some(id)) => Frame::Pong(id),
            _ => Frame::Other,
        }))
    }

    /// What the last frame carried.
    pub fn payload(&self) -> &[u8] {
        &self.buffer[..self.carried]
    }

    /// What comes on each stream until the server has ended all of `streams`.
    pub async fn collect(&mut self, streams: &[u32]) -> Result<HashMap<u32, Vec<u8>>> {
        let mut all: HashMap<u32, Vec<u8>> = HashMap::new();
        let mut open = streams.to_vec();
        while !open.is_empty() {
            match self.next().await? {
                Some(Frame::Data(stream, fin)) => {
                    all.entry(stream).or_default().extend(self.payload());
                    open.retain(|id| !(fin && *id == stream));
                }
                Some(Frame::Reset(stream)) => open.retain(|id| *id != stream),
                Some(_) => {}
                None => bail!("the server left before the end of streams {open:?}"),
            }
        }
        Ok(all)
    }

    fn block(&mut self, headers: &[(&str, &str)]) -> Result<Vec<u8>> {
        let mut plain = u32::try_from(headers.len())?.to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend(u32::try_from(text.len())?.to_be_bytes());
            plain.extend(text.as_bytes());
        }
        let mut block = Vec::with_capacity(2 * plain.len() + 64);
        self.headers
            .compress_vec(&plain, &mut block, FlushCompress::Sync)
            .context("compress headers")?;
        Ok(block)
    }

    async fn control(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        self.write([0x80, 3, 0, kind], 0, body).await
    }

    async fn data(&mut self, stream: u32, flags: u8, payload: &[u8]) -> Result<()> {
        self.write(stream.to_be_bytes(), flags, payload).await
    }

    async fn write(&mut self, first: [u8; 4], flags: u8, body: &[u8]) -> Result<()> {
        let [_, length @ ..] = u32::try_from(body.len())?.to_be_bytes();
        let mut frame = Vec::with_capacity(8 + body.len());
        frame.extend(first);
        frame.push(flags);
        frame.extend(length);
        frame.extend(body);
        self.writer.write_all(&frame).await.context("write a frame")
    }
}

/// The two streams of a forwarded connection.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// For what goes wrong.
    pub error: u32,
    /// For what the port sends and gets.
    pub data: u32,
}
