//! How long the steps of pods' starts took together, as the server counts them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};

/// As in `servers/bulkhead.toml`.
const ADDRESS: &str = "127.0.0.1:9747";
const METRIC: &str = "bulkhead_pod_start_step_duration_seconds_sum";

/// Of all pods of one handler so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Steps {
    pub(super) network: Duration,
    pub(super) own: Duration,
    pub(super) wiring: Duration,
}

impl Steps {
    /// Those of `handler` now.
    pub(super) fn read(handler: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(ADDRESS).context("connect to the server's metrics")?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Self::of(handler, &text)
    }

    fn of(handler: &str, text: &str) -> Result<Self> {
        let sum = |step: &str| -> Result<Option<Duration>> {
            let begin = format!("{METRIC}{{handler=\"{handler}\",step=\"{step}\"}} ");
            let Some(value) = text.lines().find_map(|line| line.strip_prefix(&begin)) else {
                return Ok(None);
            };
            Ok(Some(Duration::try_from_secs_f64(value.parse()?)?))
        };
        let needed = |step| sum(step)?.with_context(|| format!("no pod of {handler} had a {step}"));
        Ok(Self {
            network: needed("network")?,
            own: needed("network_own")?,
            // Only machines have it.
            wiring: sum("network_wiring")?.unwrap_or_default(),
        })
    }

    /// What came since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            network: self.network.saturating_sub(before.network),
            own: self.own.saturating_sub(before.own),
            wiring: self.wiring.saturating_sub(before.wiring),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
bulkhead_pod_start_step_duration_seconds_sum{handler=\"kvm\",step=\"network_own\"} 0.0015
bulkhead_pod_start_step_duration_seconds_count{handler=\"kvm\",step=\"network_own\"} 1
bulkhead_pod_start_step_duration_seconds_sum{handler=\"kvm\",step=\"network\"} 0.25
bulkhead_pod_start_step_duration_seconds_sum{handler=\"namespaced\",step=\"network\"} 4
";

    #[test]
    fn each_handler_has_its_own_sums() {
        let steps = Steps::of("kvm", TEXT).unwrap();
        let expected = Steps {
            network: Duration::from_millis(250),
            own: Duration::from_micros(1500),
            wiring: Duration::ZERO,
        };
        assert_eq!(steps, expected);
        let twice = Steps {
            own: Duration::from_millis(2),
            ..steps
        };
        assert_eq!(twice.since(&steps).own, Duration::from_micros(500));
        let error = Steps::of("bulkhead", TEXT).unwrap_err();
        assert!(error.to_string().contains("no pod of bulkhead"), "{error}");
    }
}
