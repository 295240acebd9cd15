//! How long each test of a program took that runs them one after the other, by when its line came.

use std::time::{Duration, Instant};

/// Runs from one line about a test to the next.
pub(super) struct Stopwatch<C> {
    cpu_time: C,
    last: Reading,
}

#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    cpu: Duration,
}

impl<C: Fn() -> Duration> Stopwatch<C> {
    /// `cpu_time` says how much CPU time the program's node has used so far.
    pub(super) fn start(cpu_time: C) -> Self {
        let last = Reading {
            at: Instant::now(),
            cpu: cpu_time(),
        };
        Self { cpu_time, last }
    }

    /// `line`, with the time since the last result behind it if it is a result.
    pub(super) fn line(&mut self, line: &str) -> String {
        let is_result = is_result(line);
        if !is_result && !line.starts_with("running ") {
            return line.to_owned();
        }
        let now = Reading {
            at: Instant::now(),
            cpu: (self.cpu_time)(),
        };
        let last = std::mem::replace(&mut self.last, now);
        if !is_result {
            return line.to_owned();
        }
        let took = (now.at - last.at).as_secs_f32();
        let cpu = now.cpu.saturating_sub(last.cpu).as_secs_f32();
        format!("{line} ({took:.1} s, CPU {cpu:.1} s)")
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
        let mut stopwatch = Stopwatch::start(|| Duration::ZERO);
        let mut timed = |line: &str| stopwatch.line(line);
        assert_eq!(timed("test a ... ok"), "test a ... ok (0.0 s, CPU 0.0 s)");
        assert_eq!(timed("FAILED"), "FAILED (0.0 s, CPU 0.0 s)");
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
