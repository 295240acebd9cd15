//! Limits as CRI has them → limits as cgroup v2 has them.

use agent_api::v1;

use crate::Resources;
use crate::cgroup::weight_of_shares;

/// What cgroup v2 calls "max".
const UNLIMITED: i64 = -1;

/// Limits for the agent. What isn't set is left as it is.
pub(crate) fn to_agent(resources: &Resources) -> v1::Resources {
    v1::Resources {
        cpu_weight: resources.cpu_shares.map(weight_of_shares),
        cpu_quota_us: resources.cpu_quota_us.map(|quota| quota.max(0)),
        cpu_period_us: resources.cpu_period_us.filter(|period| *period > 0),
        memory_bytes: resources.memory_bytes.map(limit_or_unlimited),
        swap_bytes: swap(resources),
        cpuset_cpus: resources.cpuset_cpus.clone(),
        cpuset_mems: resources.cpuset_mems.clone(),
        hugepages: resources.hugepages.clone().into_iter().collect(),
        unified: resources.unified.clone().into_iter().collect(),
        pids_max: None,
    }
}

fn limit_or_unlimited(bytes: i64) -> i64 {
    if bytes > 0 { bytes } else { UNLIMITED }
}

/// CRI counts memory and swap together, cgroup v2 swap alone. Less swap than memory means none.
fn swap(resources: &Resources) -> Option<i64> {
    match (resources.memory_swap_bytes?, resources.memory_bytes) {
        (both, _) if both < 0 => Some(UNLIMITED),
        (0, _) => None,
        (both, Some(memory)) if memory > 0 => Some((both - memory).max(0)),
        // How much of it is swap can't be known without a limit of memory.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_swap(memory: Option<i64>, both: Option<i64>, swap_bytes: Option<i64>) {
        let resources = Resources {
            memory_bytes: memory,
            memory_swap_bytes: both,
            ..Resources::default()
        };
        assert_eq!(to_agent(&resources).swap_bytes, swap_bytes);
    }

    #[test]
    fn swap_is_what_goes_beyond_memory() {
        check_swap(Some(100), Some(150), Some(50));
        check_swap(Some(100), Some(100), Some(0));
        check_swap(Some(100), Some(50), Some(0));
        check_swap(Some(100), Some(-1), Some(-1));
        check_swap(Some(100), None, None);
        check_swap(None, Some(150), None);
        check_swap(Some(100), Some(0), None);
    }

    #[test]
    fn what_is_not_said_is_not_changed() {
        assert_eq!(to_agent(&Resources::default()), v1::Resources::default());
    }

    #[test]
    fn a_limit_is_taken_away_by_nothing_or_less() {
        let resources = to_agent(&Resources {
            cpu_quota_us: Some(-1),
            memory_bytes: Some(-1),
            ..Resources::default()
        });
        assert_eq!(resources.cpu_quota_us, Some(0));
        assert_eq!(resources.memory_bytes, Some(-1));
    }

    #[test]
    fn limits_go_over_in_the_words_of_cgroup_v2() {
        let resources = to_agent(&Resources {
            cpu_shares: Some(1024),
            cpu_quota_us: Some(50_000),
            cpu_period_us: Some(100_000),
            memory_bytes: Some(64 << 20),
            unified: [("memory.high".to_owned(), "1000".to_owned())].into(),
            ..Resources::default()
        });
        assert_eq!(resources.cpu_weight, Some(100));
        assert_eq!(resources.cpu_quota_us, Some(50_000));
        assert_eq!(resources.memory_bytes, Some(64 << 20));
        assert_eq!(resources.unified["memory.high"], "1000");
    }
}
