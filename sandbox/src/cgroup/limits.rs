//! The limits of a pod's cgroup, and what they are in files of cgroup v2.

use super::weight_of_shares;
use crate::Resources;

/// cgroup v2's own default period.
pub(super) const DEFAULT_PERIOD_US: u64 = 100_000;

/// Limits of a cgroup; `None` means not set, or not changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `cpu.weight`.
    pub cpu_weight: Option<u64>,
    /// `cpu.max`: CPU time per period, both in µs. A missing time means no limit.
    pub cpu_max: Option<(Option<u64>, u64)>,
    /// `memory.max`; less than 0 means no limit.
    pub memory_max: Option<i64>,
}

impl Limits {
    /// What a pod gets whose parent we made: what its containers ask for and what it costs beside them.
    pub fn of_pod(resources: &Resources, overhead: &Resources) -> Self {
        Self {
            cpu_max: cpu_max(resources, overhead),
            memory_max: match resources.memory_bytes {
                Some(limit) if limit > 0 => {
                    Some(limit.saturating_add(overhead.memory_bytes.unwrap_or(0).max(0)))
                }
                Some(limit) if limit < 0 => Some(-1),
                _ => None,
            },
            ..Self::within_kubelets(resources, overhead)
        }
    }

    /// What a pod gets whose parent the kubelet made. CPU and memory are limited there, and only
    /// there is known whether the sums that we are told cover all containers.
    pub fn within_kubelets(resources: &Resources, overhead: &Resources) -> Self {
        Self {
            cpu_weight: resources
                .cpu_shares
                .filter(|shares| *shares > 0)
                .map(|shares| shares.saturating_add(overhead.cpu_shares.unwrap_or(0)))
                .map(weight_of_shares),
            ..Self::default()
        }
    }

    /// The files to write and their contents.
    pub(super) fn files(&self) -> Vec<(&'static str, String)> {
        let mut files = Vec::new();
        if let Some(weight) = self.cpu_weight {
            files.push(("cpu.weight", weight.to_string()));
        }
        if let Some((quota, period)) = self.cpu_max {
            let quota = quota.map_or("max".to_owned(), |quota| quota.to_string());
            files.push(("cpu.max", format!("{quota} {period}")));
        }
        if let Some(bytes) = self.memory_max {
            files.push((
                "memory.max",
                if bytes < 0 {
                    "max".to_owned()
                } else {
                    bytes.to_string()
                },
            ));
        }
        files
    }
}

/// The containers' CPU time and the overhead's, in the period of the containers.
fn cpu_max(resources: &Resources, overhead: &Resources) -> Option<(Option<u64>, u64)> {
    let period = resources
        .cpu_period_us
        .filter(|period| *period > 0)
        .unwrap_or(DEFAULT_PERIOD_US);
    let Ok(quota) = u64::try_from(resources.cpu_quota_us?) else {
        return Some((None, period));
    };
    if quota == 0 {
        return None;
    }
    let beside = overhead
        .cpu_quota_us
        .and_then(|quota| u64::try_from(quota).ok())
        .map_or(0, |quota| {
            let theirs = overhead
                .cpu_period_us
                .filter(|period| *period > 0)
                .unwrap_or(DEFAULT_PERIOD_US);
            quota.saturating_mul(period) / theirs
        });
    Some((Some(quota.saturating_add(beside)), period))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(resources: &Resources, overhead: &Resources, files: &[(&'static str, &str)]) {
        let limits = Limits::of_pod(resources, overhead);
        let written = limits.files();
        let written: Vec<_> = written.iter().map(|(f, c)| (*f, c.as_str())).collect();
        assert_eq!(written, files);
    }

    fn resources(shares: u64, quota: i64, period: u64, memory: i64) -> Resources {
        Resources {
            cpu_shares: Some(shares),
            cpu_quota_us: Some(quota),
            cpu_period_us: Some(period),
            memory_bytes: Some(memory),
            ..Resources::default()
        }
    }

    #[test]
    fn limits_are_those_of_the_containers_and_the_overhead() {
        check(
            &resources(1024, 100_000, 100_000, 512 << 20),
            &resources(256, 50_000, 200_000, 128 << 20),
            &[
                ("cpu.weight", "120"),
                ("cpu.max", "125000 100000"),
                ("memory.max", "671088640"),
            ],
        );
    }

    #[test]
    fn nothing_asked_is_nothing_written() {
        check(&Resources::default(), &Resources::default(), &[]);
        // The kubelet writes zero where it means that there is no limit.
        let overhead = resources(0, 0, 0, 64 << 20);
        check(
            &resources(2, 0, 100_000, 0),
            &overhead,
            &[("cpu.weight", "1")],
        );
    }

    #[test]
    fn less_than_nothing_takes_a_limit_away() {
        check(
            &resources(0, -1, 100_000, -1),
            &Resources::default(),
            &[("cpu.max", "max 100000"), ("memory.max", "max")],
        );
    }

    #[test]
    fn the_kubelets_own_limits_are_not_doubled() {
        let limits = Limits::within_kubelets(
            &resources(1024, 100_000, 100_000, 512 << 20),
            &Resources::default(),
        );
        assert_eq!(limits.files(), [("cpu.weight", "100".to_owned())]);
    }
}
