//! How long each test of a program took that runs them one after the other, by when its line came.

use std::time::Instant;

/// Runs from one line about a test to the next.
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// `line`, with the time since the last result behind it if it is a result.
    pub(super) fn line(&mut self, line: &str) -> String {
        let is_result = is_result(line);
        if !is_result && !line.starts_with("running ") {
            return line.to_owned();
        }
        let now = Instant::now();
        let took = now - std::mem::replace(&mut self.0, now);
        if is_result {
            format!("{line} ({:.1} s)", took.as_secs_f32())
        } else {
            line.to_owned()
        }
    }
}

/// What a program says of its own comes between the name of a test and its result.
fn is_result(line: &str) -> bool {
    let last = line.rsplit(' ').next();
    matches!(last, Some("ok" | "FAILED"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_results_without_a_time_get_one() {
        let mut stopwatch = Stopwatch::start();
        let mut timed = |line: &str| stopwatch.line(line);
        assert_eq!(timed("test a ... ok"), "test a ... ok (0.0 s)");
        assert_eq!(timed("FAILED"), "FAILED (0.0 s)");
        for line in [
            "test a ... ok (3.0 s)",
            "running 2 tests",
            "it is ok so far",
            "",
        ] {
            assert_eq!(timed(line), line);
        }
    }
}
