//! Output of a guest's container, pushed to the VMM, which writes the log on the host.

use std::time::Duration;

use agent_api::log_frame::{self, Frame, Kind, MAX_PAYLOAD};

use super::{LogError, LogWriter};
use crate::stdio::Stream;

/// How long the VMM may take to say that everything is written.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);

/// One container's share of the connection to the VMM.
#[derive(Debug)]
pub(crate) struct GuestLog {
    key: Vec<u8>,
    writer: LogWriter,
}

impl GuestLog {
    /// The log of the container `container_id`.
    pub(crate) fn new(writer: &LogWriter, container_id: &str) -> Result<Self, LogError> {
        if writer.is_gone() {
            return Err(LogError::Gone);
        }
        Ok(Self {
            key: container_id.as_bytes().to_vec(),
            writer: writer.clone(),
        })
    }

    pub(super) async fn write(&self, stream: Stream, bytes: &[u8]) {
        let stream = match stream {
            Stream::Stdout => log_frame::Stream::Stdout,
            Stream::Stderr => log_frame::Stream::Stderr,
        };
        for payload in bytes.chunks(MAX_PAYLOAD) {
            self.send(Kind::Data, stream, payload).await;
        }
    }

    /// Says that there is no more, and waits until the VMM has written everything.
    pub(super) async fn finish(&self) {
        if tokio::time::timeout(ACKNOWLEDGED_WITHIN, self.end()).await != Ok(true) {
            self.writer.give_up(&self.key);
            let container_id = &*String::from_utf8_lossy(&self.key);
            tracing::warn!(
                container_id,
                "the host did not confirm the log; its end may be lost"
            );
        }
    }

    /// Whether the VMM has confirmed the end.
    async fn end(&self) -> bool {
        let confirmed = self.writer.expect(&self.key);
        self.send(Kind::End, log_frame::Stream::Stdout, b"").await;
        confirmed.await.is_ok()
    }

    async fn send(&self, kind: Kind, stream: log_frame::Stream, payload: &[u8]) {
        let frame = Frame {
            kind,
            stream,
            key: &self.key,
            payload,
        };
        self.writer.send(frame).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    /// Reads one frame as the VMM would: its kind, its container, its payload.
    async fn frame(stream: &mut UnixStream) -> (Kind, String, Vec<u8>) {
        let length = stream.read_u32_le().await.unwrap();
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.resize(4 + usize::try_from(length).unwrap(), 0);
        stream.read_exact(&mut bytes[4..]).await.unwrap();
        let (frame, _) = Frame::decode(&bytes).unwrap().unwrap();
        let key = String::from_utf8(frame.key.to_vec()).unwrap();
        (frame.kind, key, frame.payload.to_vec())
    }

    async fn acknowledge(stream: &mut UnixStream, key: &str) {
        let mut bytes = Vec::new();
        Frame {
            kind: Kind::Acknowledged,
            stream: log_frame::Stream::Stdout,
            key: key.as_bytes(),
            payload: b"",
        }
        .encode(&mut bytes);
        stream.write_all(&bytes).await.unwrap();
    }

    async fn within<T>(steps: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(5), steps)
            .await
            .unwrap()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_end_is_waited_for_until_the_host_has_everything() {
        let (guest, mut host) = UnixStream::pair().unwrap();
        let writer = LogWriter::new(guest);
        let log = GuestLog::new(&writer, "c1").unwrap();
        let vmm = async {
            let (kind, _, first) = frame(&mut host).await;
            assert_eq!((kind, first.len()), (Kind::Data, MAX_PAYLOAD));
            let rest = (Kind::Data, "c1".to_owned(), vec![b'x'; 10]);
            assert_eq!(frame(&mut host).await, rest);
            assert_eq!(frame(&mut host).await.0, Kind::End);
            acknowledge(&mut host, "other").await;
            tokio::task::yield_now().await;
            acknowledge(&mut host, "c1").await;
        };
        let agent = async {
            log.write(Stream::Stdout, &vec![b'x'; MAX_PAYLOAD + 10])
                .await;
            assert!(log.end().await);
        };
        within(async { tokio::join!(vmm, agent) }).await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_output_of_one_who_is_given_up_garbles_nobody_elses() {
        let (guest, mut host) = UnixStream::pair().unwrap();
        let writer = LogWriter::new(guest);
        let given_up = GuestLog::new(&writer, "c1").unwrap();
        let other = GuestLog::new(&writer, "c2").unwrap();
        // More than fits into the socket and what waits before it.
        let much = vec![b'x'; 4 << 20];
        let writing = given_up.write(Stream::Stdout, &much);
        let ran = tokio::time::timeout(Duration::from_millis(100), writing).await;
        assert!(ran.is_err(), "it was given up in the middle");
        let vmm = async {
            while let (Kind::Data, key, payload) = frame(&mut host).await {
                let whole = key == "c1" && payload.len() == MAX_PAYLOAD;
                assert!(whole || (key, &payload[..]) == ("c2".to_owned(), b"words"));
            }
            acknowledge(&mut host, "c2").await;
        };
        let agent = async {
            other.write(Stream::Stderr, b"words").await;
            assert!(other.end().await);
        };
        within(async { tokio::join!(vmm, agent) }).await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_host_that_is_gone_holds_nobody_up() {
        let (guest, host) = UnixStream::pair().unwrap();
        let writer = LogWriter::new(guest);
        let log = GuestLog::new(&writer, "c1").unwrap();
        drop(host);
        within(async {
            log.write(Stream::Stdout, b"lost").await;
            log.finish().await;
            while !writer.is_gone() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let error = GuestLog::new(&writer, "c2").unwrap_err();
        assert_eq!(error.to_string(), "the host's log writer is gone");
    }
}
