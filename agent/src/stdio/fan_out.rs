//! Output for those who are attached. However slowly one reads, the container never waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{Piece, Stream};

/// Pieces that wait for one client, of at most 64 KiB each.
const QUEUE: usize = 32;

/// Hands each piece of output to all who are attached.
#[derive(Debug, Default)]
pub(crate) struct FanOut {
    clients: Mutex<Clients>,
}

#[derive(Debug, Default)]
struct Clients {
    all: Vec<Sender>,
    /// There will be no more output.
    over: bool,
}

#[derive(Debug)]
struct Sender {
    queue: mpsc::Sender<Piece>,
    stdout: bool,
    stderr: bool,
    lagged: Arc<AtomicBool>,
}

/// What a client gets.
#[derive(Debug)]
pub(crate) struct Subscription {
    queue: mpsc::Receiver<Piece>,
    lagged: Arc<AtomicBool>,
}

/// Why a client gets no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// There is no more.
    Over,
    /// It did not keep up, and was let go.
    Lagged,
}

impl FanOut {
    /// Attaches a client, who gets what comes from now on.
    pub(crate) fn subscribe(&self, stdout: bool, stderr: bool) -> Subscription {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let lagged = Arc::new(AtomicBool::new(false));
        let mut clients = self.clients.lock();
        if !clients.over {
            clients.all.push(Sender {
                queue,
                stdout,
                stderr,
                lagged: Arc::clone(&lagged),
            });
        }
        Subscription {
            queue: receiver,
            lagged,
        }
    }

    /// Hands out a piece.
    pub(crate) fn publish(&self, stream: Stream, bytes: &[u8]) {
        let mut clients = self.clients.lock();
        if clients.all.is_empty() {
            return;
        }
        let bytes = Bytes::copy_from_slice(bytes);
        clients.all.retain(|client| client.offer(stream, &bytes));
    }

    /// There will be no more output; clients get what is on its way and then the end.
    pub(crate) fn finish(&self) {
        let mut clients = self.clients.lock();
        clients.over = true;
        clients.all.clear();
    }
}

impl Sender {
    /// Whether the client stays.
    fn offer(&self, stream: Stream, bytes: &Bytes) -> bool {
        let wanted = match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        };
        if !wanted {
            return !self.queue.is_closed();
        }
        match self.queue.try_send((stream, bytes.clone())) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.lagged.store(true, Ordering::Relaxed);
                false
            }
        }
    }
}

impl Subscription {
    /// The next piece, or why there is none.
    pub(crate) async fn next(&mut self) -> Result<Piece, End> {
        match self.queue.recv().await {
            Some(piece) => Ok(piece),
            None if self.lagged.load(Ordering::Relaxed) => Err(End::Lagged),
            None => Err(End::Over),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_slow_client_is_let_go_and_the_others_miss_nothing() {
        let fan_out = FanOut::default();
        let mut slow = fan_out.subscribe(true, true);
        let mut quick = fan_out.subscribe(true, false);
        for number in 0..=QUEUE {
            fan_out.publish(Stream::Stdout, &[u8::try_from(number).unwrap()]);
            fan_out.publish(Stream::Stderr, b"not for both");
            assert_eq!(
                quick.next().await.unwrap().1[0],
                u8::try_from(number).unwrap()
            );
        }
        let mut got = 0;
        let end = loop {
            match slow.next().await {
                Ok(_) => got += 1,
                Err(end) => break end,
            }
        };
        assert_eq!((got, end), (QUEUE, End::Lagged));
        fan_out.finish();
        assert_eq!(quick.next().await.unwrap_err(), End::Over);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_comes_after_the_end_gets_the_end() {
        let fan_out = FanOut::default();
        fan_out.finish();
        assert_eq!(
            fan_out.subscribe(true, true).next().await.unwrap_err(),
            End::Over
        );
    }
}
