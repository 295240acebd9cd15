//! Which host to ask next, and when to give up.
//!
//! All hosts are asked in their order. If none had it and the last one, which is the registry
//! itself, may have it later, those that may are asked again after a pause, up to `retries` times.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use super::Endpoint;
use super::failure::{Attempts, Failure};
use super::timing::Timing;

const MAX_PAUSE: Duration = Duration::from_secs(10);

/// The state of asking.
pub(super) struct Rounds {
    timing: Timing,
    /// Hosts, by their place in the session, best first.
    order: Vec<usize>,
    /// Those still to be asked in this round.
    left: VecDeque<usize>,
    round: u32,
    /// The latest failure of each.
    failures: BTreeMap<usize, (String, Failure)>,
}

impl Rounds {
    pub(super) fn new(timing: &Timing, order: Vec<usize>) -> Self {
        Self {
            timing: timing.clone(),
            left: order.iter().copied().collect(),
            order,
            round: 0,
            failures: BTreeMap::new(),
        }
    }

    /// The next host, after a pause if a new round begins; `None` when it is time to give up.
    pub(super) async fn next(&mut self) -> Option<usize> {
        if self.left.is_empty() {
            let pause = self.begin_round()?;
            tokio::time::sleep(pause).await;
        }
        self.left.pop_front()
    }

    pub(super) fn failed(&mut self, index: usize, endpoint: &Endpoint, failure: Failure) {
        tracing::debug!(host = %endpoint.host.name, %failure, "host failed");
        self.failures
            .insert(index, (endpoint.host.name.clone(), failure));
    }

    /// After progress: everything is open again. `index`, which broke off, is asked last, and all
    /// after a pause.
    pub(super) async fn restart_after(&mut self, index: usize) {
        self.round = 0;
        self.failures.clear();
        self.left = self
            .order
            .iter()
            .copied()
            .filter(|other| *other != index)
            .collect();
        self.left.push_back(index);
        tokio::time::sleep(self.pause(None)).await;
    }

    /// What each host did.
    pub(super) fn give_up(self) -> Attempts {
        Attempts(self.failures.into_values().collect())
    }

    fn begin_round(&mut self) -> Option<Duration> {
        let passing = |index: &usize| {
            self.failures
                .get(index)
                .is_some_and(|(_, failure)| failure.is_passing())
        };
        let last_may = self.order.last().is_some_and(passing);
        if !last_may || self.round >= self.timing.retries {
            return None;
        }
        self.left = self.order.iter().copied().filter(passing).collect();
        let asked_for = self
            .failures
            .values()
            .filter_map(|(_, f)| f.retry_after)
            .max();
        let pause = self.pause(asked_for);
        self.round += 1;
        Some(pause)
    }

    /// Doubles each round; up to a quarter is left to chance, so that nodes don't march in step.
    fn pause(&self, asked_for: Option<Duration>) -> Duration {
        let doubled = self
            .timing
            .first_pause
            .saturating_mul(1 << self.round.min(10));
        let chance = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |now| now.subsec_nanos() % 256);
        let pause = doubled.min(MAX_PAUSE);
        let jitter = pause * chance / 1024;
        (pause + jitter).max(asked_for.unwrap_or_default())
    }
}
