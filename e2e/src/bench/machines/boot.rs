//! What the start of a machine is made of, by the log of its VMM and its console.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bench::facts::{facts, text};
use crate::runtime::Runtime;

/// What the VMM says when the first instruction of the guest runs.
const RUNS: &str = "the machine runs";
/// What it says when the agent in the guest can be called.
const READY: &str = "the agent in the guest is ready";
/// What the guest's kernel says when it is done with itself.
const INIT: &str = "Run /init as init process";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a machine's VMM and kernel wrote.
#[derive(Debug)]
pub(super) struct Boot {
    log: String,
    console: String,
}

impl Boot {
    /// Reads it where the verbose status says that it is.
    pub(super) async fn read(runtime: &mut Runtime, pod_id: &str) -> Result<Self> {
        let facts = facts(runtime, pod_id, "explain").await?;
        let read = |fact: &str| -> Result<String> {
            let path = text(&facts, fact)?;
            let bytes = fs::read(path).with_context(|| format!("read {path}"))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Self {
            log: read("vmm_log")?,
            console: read("console")?,
        })
    }

    /// What RunPodSandbox, called at `begin`, was busy with.
    pub(super) fn steps(&self, begin: SystemTime) -> Result<Vec<(&'static str, Duration)>> {
        let begin = begin.duration_since(UNIX_EPOCH)?;
        let begin = begin - DAY * u32::try_from(begin.as_secs() / DAY.as_secs())?;
        let (runs, ready) = (time_of(&self.log, RUNS)?, time_of(&self.log, READY)?);
        let mut steps = vec![
            ("of it: until the guest runs", since(begin, runs)),
            ("of it: the guest boots", since(runs, ready)),
        ];
        // Its own clock starts somewhat later than the machine.
        steps.extend(uptime_at(&self.console, INIT).map(|up| ("of that: its kernel", up)));
        Ok(steps)
    }
}

/// The time of day at which `message` was logged.
fn time_of(log: &str, message: &str) -> Result<Duration> {
    let events = log.lines().filter_map(|l| serde_json::from_str(l).ok());
    let event: Value = events
        .into_iter()
        .find(|event: &Value| event["message"] == message)
        .with_context(|| format!("the VMM did not log {message:?}"))?;
    let stamp = event["timestamp"].as_str().context("a time stamp")?;
    time_of_day(stamp).with_context(|| format!("understand the time {stamp}"))
}

/// `…T01:02:03.4Z` is 3723.4 s.
fn time_of_day(stamp: &str) -> Option<Duration> {
    let (_, time) = stamp.trim_end_matches('Z').split_once('T')?;
    let seconds = time.split(':').try_fold(0.0, |sum, part| {
        part.parse::<f64>().ok().map(|part| sum * 60.0 + part)
    })?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// From one time of day to a later one, also over midnight.
fn since(begin: Duration, end: Duration) -> Duration {
    end.checked_sub(begin)
        .unwrap_or_else(|| (end + DAY).saturating_sub(begin))
}

/// The kernel's own time at a line of its console: `[    1.250000] Run /init …`.
fn uptime_at(console: &str, text: &str) -> Option<Duration> {
    let line = console.lines().find(|line| line.contains(text))?;
    let (uptime, _) = line.split_once('[')?.1.split_once(']')?;
    Duration::try_from_secs_f64(uptime.trim().parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = concat!(
        r#"{"timestamp":"2026-01-02T23:59:58.500000Z","message":"the machine runs"}"#,
        "\nno JSON\n",
        r#"{"timestamp":"2026-01-03T00:00:01.250000Z","message":"the agent in the guest is ready"}"#,
    );

    #[test]
    fn a_boot_over_midnight_is_split_into_its_steps() {
        let boot = Boot {
            log: LOG.to_owned(),
            console: "[    0.000000] Linux\r\n[    1.750000] Run /init as init process\r\n".into(),
        };
        let begin = UNIX_EPOCH + DAY * 20_000 - Duration::from_secs(2);
        let steps: Vec<_> = boot.steps(begin).unwrap();
        let took: Vec<_> = steps.iter().map(|(_, took)| took.as_millis()).collect();
        assert_eq!(took, [500, 2750, 1750]);
    }

    #[test]
    fn a_quiet_console_leaves_one_step_out() {
        assert_eq!(uptime_at("Run /init as init process", INIT), None);
    }

    #[test]
    fn a_log_without_the_event_is_an_error() {
        assert!(time_of("", RUNS).is_err());
    }
}
