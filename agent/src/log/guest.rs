//! Output of a guest's container, pushed to the VMM, which writes the log on the host.

use std::time::Duration;

use agent_api::log_frame::{self, Frame, Kind, MAX_PAYLOAD};
use agent_api::version::LOG_PORT;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use super::LogError;
use crate::stdio::Stream;
use crate::sys::vsock;

/// How long the VMM may take to say that everything is written.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);

/// One container's connection to the VMM.
#[derive(Debug)]
pub(crate) struct GuestLog {
    key: Vec<u8>,
    /// `None` once it broke: the output then goes nowhere, rather than stopping the container.
    connection: Mutex<Option<UnixStream>>,
}

impl GuestLog {
    /// Connects for the container `container_id`.
    pub(crate) async fn connect(container_id: &str) -> Result<Self, LogError> {
        let socket = vsock::connect_to_host(LOG_PORT).map_err(|e| LogError::Connect(e.into()))?;
        let stream = crate::guest::vsock::stream(socket).map_err(LogError::Connect)?;
        crate::guest::vsock::connected(&stream)
            .await
            .map_err(LogError::Connect)?;
        Ok(Self::over(stream, container_id))
    }

    fn over(stream: UnixStream, container_id: &str) -> Self {
        Self {
            key: container_id.as_bytes().to_vec(),
            connection: Mutex::new(Some(stream)),
        }
    }

    pub(super) async fn write(&self, stream: Stream, bytes: &[u8]) {
        for payload in bytes.chunks(MAX_PAYLOAD) {
            self.send(Kind::Data, stream, payload).await;
        }
    }

    /// Says that there is no more, and waits until the VMM has written everything.
    pub(super) async fn finish(&self) {
        self.send(Kind::End, Stream::Stdout, b"").await;
        let Some(mut stream) = self.connection.lock().await.take() else {
            return;
        };
        let answer =
            tokio::time::timeout(ACKNOWLEDGED_WITHIN, acknowledgement(&mut stream, &self.key));
        if !matches!(answer.await, Ok(Ok(()))) {
            let container_id = &*String::from_utf8_lossy(&self.key);
            tracing::warn!(
                container_id,
                "the host did not confirm the log; its end may be lost"
            );
        }
    }

    async fn send(&self, kind: Kind, stream: Stream, payload: &[u8]) {
        let stream = match stream {
            Stream::Stdout => log_frame::Stream::Stdout,
            Stream::Stderr => log_frame::Stream::Stderr,
        };
        let mut bytes = Vec::with_capacity(payload.len() + 128);
        Frame {
            kind,
            stream,
            key: &self.key,
            payload,
        }
        .encode(&mut bytes);
        let mut connection = self.connection.lock().await;
        if let Some(open) = connection.as_mut()
            && let Err(error) = open.write_all(&bytes).await
        {
            let container_id = &*String::from_utf8_lossy(&self.key);
            tracing::warn!(container_id, %error, "output is lost: the host's log writer is gone");
            *connection = None;
        }
    }
}

/// Waits for the frame that acknowledges `key`.
async fn acknowledgement(stream: &mut UnixStream, key: &[u8]) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let decoded = Frame::decode(&bytes)
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))?;
        if let Some((frame, length)) = decoded {
            if frame.kind == Kind::Acknowledged && frame.key == key {
                return Ok(());
            }
            bytes.drain(..length);
        } else if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads one frame as the VMM would.
    async fn frame(stream: &mut UnixStream) -> (Kind, Vec<u8>) {
        let length = stream.read_u32_le().await.unwrap();
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.resize(4 + usize::try_from(length).unwrap(), 0);
        stream.read_exact(&mut bytes[4..]).await.unwrap();
        let (frame, _) = Frame::decode(&bytes).unwrap().unwrap();
        assert_eq!(frame.key, b"c1");
        (frame.kind, frame.payload.to_vec())
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_end_is_waited_for_until_the_host_has_everything() {
        let (guest, mut host) = UnixStream::pair().unwrap();
        let log = GuestLog::over(guest, "c1");
        let vmm = async {
            let (kind, first) = frame(&mut host).await;
            assert_eq!((kind, first.len()), (Kind::Data, MAX_PAYLOAD));
            assert_eq!(frame(&mut host).await, (Kind::Data, vec![b'x'; 10]));
            assert_eq!(frame(&mut host).await.0, Kind::End);
            let mut answer = Vec::new();
            for key in [&b"other"[..], b"c1"] {
                let stream = log_frame::Stream::Stdout;
                Frame {
                    kind: Kind::Acknowledged,
                    stream,
                    key,
                    payload: b"",
                }
                .encode(&mut answer);
            }
            host.write_all(&answer).await.unwrap();
        };
        let agent = async {
            log.write(Stream::Stdout, &vec![b'x'; MAX_PAYLOAD + 10])
                .await;
            log.finish().await;
        };
        tokio::time::timeout(Duration::from_secs(5), async { tokio::join!(vmm, agent) })
            .await
            .unwrap();
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_host_that_is_gone_holds_nobody_up() {
        let (guest, host) = UnixStream::pair().unwrap();
        drop(host);
        let log = GuestLog::over(guest, "c1");
        log.write(Stream::Stdout, b"lost").await;
        log.finish().await;
    }
}
