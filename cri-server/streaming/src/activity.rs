//! What a client's connection does: when bytes last moved, how many, and whether the client hung up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long what the client sent last may take to be used once it has hung up.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What a client's connection does.
#[derive(Debug)]
pub(crate) struct Activity {
    start: Instant,
    /// Milliseconds after `start` at which bytes last moved.
    last_ms: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    /// To see the client hang up while nothing is read from it.
    socket: Option<Arc<TcpStream>>,
}

impl Activity {
    /// None so far on `socket`.
    pub(crate) fn new(socket: Option<Arc<TcpStream>>) -> Self {
        Self {
            start: Instant::now(),
            last_ms: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            socket,
        }
    }

    /// The client sent `bytes`.
    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
    }

    /// The client took `bytes`, or its kernel did. None of them are a sign of life only.
    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        if bytes > 0 {
            self.touch();
        }
    }

    /// Bytes received and sent since the start.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.received), load(&self.sent))
    }

    /// How long it has been up.
    pub(crate) fn age(&self) -> Duration {
        self.start.elapsed()
    }

    /// Resolves when nothing has moved for `limit`.
    pub(crate) async fn idle(&self, limit: Duration) {
        loop {
            let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let quiet = self.start.elapsed().saturating_sub(last);
            if quiet >= limit {
                return;
            }
            tokio::time::sleep(limit - quiet).await;
        }
    }

    /// Resolves some seconds after the client has closed its side, read or not.
    pub(crate) async fn hung_up(&self) {
        let Some(socket) = &self.socket else {
            return std::future::pending().await;
        };
        // Readable would be true at once, for what is not read. A closed read side is all that a
        // socket without urgent data ever reports for this interest.
        if socket.ready(Interest::PRIORITY).await.is_ok() {
            tokio::time::sleep(LAST_WORDS).await;
        }
    }

    fn touch(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_idle_only_when_nothing_moves() {
        let activity = Activity::new(None);
        let limit = Duration::from_millis(300);
        let start = Instant::now();
        tokio::join!(activity.idle(limit), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            activity.received(1);
        });
        assert!(start.elapsed() >= Duration::from_millis(490));
        assert_eq!(activity.bytes(), (1, 0));
    }
}
