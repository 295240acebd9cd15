//! The agent's own log: one line per event on stderr.
//!
//! Not tracing-subscriber: its formatter alone is a tenth of this program.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Longest line. What containers have a say in must not fill the log.
const MAX_LINE: usize = 2048;

/// Writes events of this program to stderr.
struct Logger {
    most: Level,
}

/// From now on events go to stderr, those of level `most` and above.
pub(crate) fn start(most: Level) {
    // It is set once; a second attempt changes nothing.
    let _ = tracing::subscriber::set_global_default(Logger { most });
}

/// Prints a line that somebody asked for on the command line.
pub(crate) fn print(line: &str) {
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stdout(), "{line}");
}

impl Subscriber for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.most && metadata.is_event() && is_ours(metadata.target())
    }

    fn event(&self, event: &Event<'_>) {
        let line = format_line(SystemTime::now(), event.metadata(), |line| {
            event.record(line)
        });
        // A log that can't be written is no reason to stop.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Libraries tell more than an operator wants to know.
fn is_ours(target: &str) -> bool {
    target.starts_with("bulkhead_agent") || target.starts_with("cri_log")
}

fn format_line(
    time: SystemTime,
    metadata: &Metadata<'_>,
    record: impl FnOnce(&mut Line),
) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut line = Line {
        message: String::new(),
        fields: String::new(),
    };
    record(&mut line);
    let mut text = format!(
        "{}.{:06} {:5} {}{}",
        since.as_secs(),
        since.subsec_micros(),
        metadata.level().as_str(),
        line.message,
        line.fields
    );
    text.truncate(text.floor_char_boundary(MAX_LINE));
    // One event, one line, whatever is in it.
    text = text.replace(['\n', '\r'], " ");
    text.push('\n');
    text
}

/// What an event says.
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
        if plain && field.name() != "message" {
            let _ = write!(self.fields, " {}={value}", field.name());
        } else {
            self.record_debug(field, &value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::*;

    /// Formats instead of writing.
    struct Capture(Arc<Mutex<Vec<String>>>);

    impl Subscriber for Capture {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn event(&self, event: &Event<'_>) {
            let time = UNIX_EPOCH + Duration::from_micros(1_500_000);
            self.0
                .lock()
                .push(format_line(time, event.metadata(), |line| {
                    event.record(line)
                }));
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[track_caller]
    fn check(emit: impl FnOnce(), expected: &str) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        tracing::subscriber::with_default(Capture(Arc::clone(&lines)), emit);
        assert_eq!(*lines.lock(), [expected]);
    }

    #[test]
    fn an_event_is_one_line_with_its_fields() {
        check(
            || tracing::info!(container_id = "c1", code = 3, "container exited"),
            "1.500000 INFO  container exited container_id=c1 code=3\n",
        );
    }

    #[test]
    fn what_others_wrote_can_not_break_the_line() {
        check(
            || tracing::warn!(error = "a\nb", "odd"),
            "1.500000 WARN  odd error=\"a\\nb\"\n",
        );
        let long = "x".repeat(2 * MAX_LINE);
        let lines = Arc::new(Mutex::new(Vec::new()));
        tracing::subscriber::with_default(Capture(Arc::clone(&lines)), || {
            tracing::info!(long = long.as_str(), "long");
        });
        assert_eq!(lines.lock()[0].len(), MAX_LINE + 1);
    }
}
