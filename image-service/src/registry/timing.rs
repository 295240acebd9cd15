//! How long we wait for a registry: never for ever, and never less because we are slow ourselves.

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Response;
use tokio::time::timeout;

use super::failure::Failure;

/// When a registry counts as stalled, and how often it is asked again.
#[derive(Clone, Debug)]
pub(crate) struct Timing {
    /// The span in which `stall_min_bytes` must arrive.
    pub(crate) stall_timeout: Duration,
    /// See `stall_timeout`.
    pub(crate) stall_min_bytes: u64,
    /// Rounds through all hosts after the first.
    pub(crate) retries: u32,
    /// Pause before the first retry; doubles from there.
    pub(crate) first_pause: Duration,
}

impl Timing {
    /// The head of an answer.
    pub(super) async fn answer(
        &self,
        answer: impl Future<Output = reqwest::Result<Response>>,
    ) -> Result<Response, Failure> {
        match timeout(self.stall_timeout, answer).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Failure::from_network(&error)),
            Err(_) => Err(Failure::stalled(self.stall_timeout)),
        }
    }

    pub(super) fn stall_clock(&self) -> StallClock {
        StallClock {
            timing: self.clone(),
            bytes: 0,
            waited: Duration::ZERO,
        }
    }
}

/// Watches one download. It runs only while we wait for the registry, so a busy disk or a full
/// queue of ours never kills a healthy download.
pub(super) struct StallClock {
    timing: Timing,
    /// Bytes that arrived in this span.
    bytes: u64,
    /// Waiting that this span has seen.
    waited: Duration,
}

impl StallClock {
    /// The next piece of a body; `None` at its end.
    pub(super) async fn chunk(
        &mut self,
        response: &mut Response,
    ) -> Result<Option<Bytes>, Failure> {
        let left = self.timing.stall_timeout.saturating_sub(self.waited);
        let began = Instant::now();
        let chunk = match timeout(left, response.chunk()).await {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(error)) => return Err(Failure::from_network(&error)),
            Err(_) => return Err(Failure::stalled(self.timing.stall_timeout)),
        };
        self.waited += began.elapsed();
        self.bytes += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if self.bytes >= self.timing.stall_min_bytes {
            (self.bytes, self.waited) = (0, Duration::ZERO);
        }
        Ok(chunk)
    }
}
