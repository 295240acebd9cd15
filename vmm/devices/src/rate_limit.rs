//! Warnings that a guest can cause, kept to a bounded number of lines.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Lines that one place may write per [`PERIOD_SECONDS`].
const BURST: u64 = 5;
const PERIOD_SECONDS: u64 = 10;

/// How often one place in the code has warned. Made by [`guest_warn!`](crate::guest_warn).
#[derive(Debug, Default)]
pub struct RateLimit {
    period: AtomicU64,
    in_period: AtomicU64,
    suppressed: AtomicU64,
}

impl RateLimit {
    /// A place that has not warned yet.
    pub const fn new() -> Self {
        Self {
            period: AtomicU64::new(0),
            in_period: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Whether to write now: `Some` with the number of lines left out since the last one.
    pub fn permit(&self) -> Option<u64> {
        static START: OnceLock<Instant> = OnceLock::new();
        self.permit_at(START.get_or_init(Instant::now).elapsed().as_secs())
    }

    fn permit_at(&self, seconds: u64) -> Option<u64> {
        let period = seconds / PERIOD_SECONDS;
        if self.period.swap(period, Relaxed) != period {
            self.in_period.store(0, Relaxed);
        }
        if self.in_period.fetch_add(1, Relaxed) < BURST {
            return Some(self.suppressed.swap(0, Relaxed));
        }
        self.suppressed.fetch_add(1, Relaxed);
        None
    }
}

/// Warns of something the guest did wrong. Takes what `tracing::warn!` takes; each place in the
/// code writes a few lines in ten seconds at most, and says how many it left out.
#[macro_export]
macro_rules! guest_warn {
    ($($args:tt)+) => {{
        static LIMIT: $crate::rate_limit::RateLimit = $crate::rate_limit::RateLimit::new();
        if let Some(suppressed) = LIMIT.permit() {
            $crate::rate_limit::tracing::event!(
                $crate::rate_limit::tracing::Level::WARN, suppressed, $($args)+
            );
        }
    }};
}

/// Warns of something the host did wrong, such as a failing disk. Rate-limited like
/// [`guest_warn!`](crate::guest_warn), since a guest decides how often a failing disk is asked.
#[macro_export]
macro_rules! host_warn {
    ($($args:tt)+) => { $crate::guest_warn!($($args)+) };
}

#[doc(hidden)]
pub use tracing;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_falls_silent_and_tells_what_it_left_out() {
        let limit = RateLimit::new();
        let written = (0..100).filter_map(|_| limit.permit_at(3)).count();
        assert_eq!(written, 5);
        assert_eq!(limit.permit_at(13), Some(95));
        assert_eq!(limit.permit_at(14), Some(0));
    }
}
