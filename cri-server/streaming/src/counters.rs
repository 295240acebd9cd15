//! What the server has done so far, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) urls: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) started: AtomicU64,
    pub(crate) ended: AtomicU64,
    pub(crate) clients_gone: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) violations: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
}

/// Counts at one moment, each since the start of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// URLs handed out.
    pub urls: u64,
    /// Requests that were turned away: without a valid token, or with one that could not be used.
    pub refused: u64,
    /// Sessions that began.
    pub started: u64,
    /// Sessions that ended, in whatever way. The rest runs.
    pub ended: u64,
    /// Of these, the client went before the end.
    pub clients_gone: u64,
    /// Of these, the client was idle, or did not open its streams in time.
    pub timed_out: u64,
    /// Of these, the client sent what made no sense.
    pub violations: u64,
    /// Bytes received in sessions that have ended.
    pub received_bytes: u64,
    /// Bytes sent in sessions that have ended.
    pub sent_bytes: u64,
}

/// Adds to a count.
pub(crate) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

impl Counters {
    /// All of them now.
    pub(crate) fn read(&self) -> Counts {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            urls: load(&self.urls),
            refused: load(&self.refused),
            started: load(&self.started),
            ended: load(&self.ended),
            clients_gone: load(&self.clients_gone),
            timed_out: load(&self.timed_out),
            violations: load(&self.violations),
            received_bytes: load(&self.received_bytes),
            sent_bytes: load(&self.sent_bytes),
        }
    }
}
