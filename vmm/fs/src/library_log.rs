//! What the library that serves files has to say, in our log and in bounds: a guest can make it talk.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Lines that may be written in each [`PERIOD`].
const BURST: u32 = 20;
const PERIOD: Duration = Duration::from_secs(60);

/// Writes warnings and errors of libraries to our log from now on.
pub(crate) fn forward() {
    static FORWARD: Forward = Forward(Mutex::new(None));
    // Nobody else sets one.
    if log::set_logger(&FORWARD).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}

/// When the period began, and how many lines it has had.
struct Forward(Mutex<Option<(Instant, u32)>>);

impl Forward {
    /// How many lines of this period there are with the next one.
    fn count(&self, now: Instant) -> u32 {
        let mut period = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let (start, lines) = period.get_or_insert((now, 0));
        if now.duration_since(*start) >= PERIOD {
            (*start, *lines) = (now, 0);
        }
        *lines = lines.saturating_add(1);
        *lines
    }
}

impl Log for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        match self.count(Instant::now()) {
            lines if lines < BURST => {
                tracing::event!(
                    tracing::Level::WARN,
                    from = record.target(),
                    "{}",
                    record.args()
                );
            }
            BURST => tracing::event!(
                tracing::Level::WARN,
                "more to warn of; left out for up to {PERIOD:?}"
            ),
            _ => {}
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_anew_in_each_period() {
        let forward = Forward(Mutex::new(None));
        let start = Instant::now();
        assert_eq!([1, 2].map(|_| forward.count(start)), [1, 2]);
        assert_eq!(forward.count(start + PERIOD), 1);
    }
}
