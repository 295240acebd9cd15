//! Limits as CRI words them, and as sandboxes take them.

use cri_api::v1::{HugepageLimit, LinuxContainerResources};
use sandbox::Resources;

use crate::error::{Error, Result};

/// Most of `oom_score_adj`, proc_pid_oom_score_adj(5); the least is the same below zero.
const OOM_SCORE_ADJ_MAX: i64 = 1000;

/// Reads CRI's limits, in which 0 and "" mean "not said".
pub fn from_cri(resources: Option<&LinuxContainerResources>) -> Result<Resources> {
    let Some(cri) = resources else {
        return Ok(Resources::default());
    };
    Ok(Resources {
        cpu_shares: positive("cpu_shares", cri.cpu_shares)?,
        cpu_quota_us: said(cri.cpu_quota),
        cpu_period_us: positive("cpu_period", cri.cpu_period)?,
        memory_bytes: said(cri.memory_limit_in_bytes),
        memory_swap_bytes: said(cri.memory_swap_limit_in_bytes),
        oom_score_adj: Some(oom_score_adj(cri.oom_score_adj)?),
        cpuset_cpus: cri.cpuset_cpus.clone(),
        cpuset_mems: cri.cpuset_mems.clone(),
        hugepages: cri
            .hugepage_limits
            .iter()
            .map(|limit| (limit.page_size.clone(), limit.limit))
            .collect(),
        unified: unified(cri)?,
    })
}

/// Words limits as CRI does.
pub fn to_cri(resources: &Resources) -> LinuxContainerResources {
    let number = |value: Option<u64>| value.and_then(|v| i64::try_from(v).ok()).unwrap_or(0);
    LinuxContainerResources {
        cpu_period: number(resources.cpu_period_us),
        cpu_quota: resources.cpu_quota_us.unwrap_or(0),
        cpu_shares: number(resources.cpu_shares),
        memory_limit_in_bytes: resources.memory_bytes.unwrap_or(0),
        oom_score_adj: resources.oom_score_adj.unwrap_or(0).into(),
        cpuset_cpus: resources.cpuset_cpus.clone(),
        cpuset_mems: resources.cpuset_mems.clone(),
        hugepage_limits: resources
            .hugepages
            .iter()
            .map(|(page_size, limit)| HugepageLimit {
                page_size: page_size.clone(),
                limit: *limit,
            })
            .collect(),
        unified: resources.unified.clone(),
        memory_swap_limit_in_bytes: resources.memory_swap_bytes.unwrap_or(0),
    }
}

/// `old` with what `new` says. CRI can't word an `oom_score_adj` of 0 apart from none at all; what a
/// container began with stays.
pub fn merged(old: &Resources, new: &Resources) -> Resources {
    let text = |new: &String, old: &String| if new.is_empty() { old } else { new }.clone();
    let mut hugepages = old.hugepages.clone();
    hugepages.extend(new.hugepages.clone());
    let mut unified = old.unified.clone();
    unified.extend(new.unified.clone());
    Resources {
        cpu_shares: new.cpu_shares.or(old.cpu_shares),
        cpu_quota_us: new.cpu_quota_us.or(old.cpu_quota_us),
        cpu_period_us: new.cpu_period_us.or(old.cpu_period_us),
        memory_bytes: new.memory_bytes.or(old.memory_bytes),
        memory_swap_bytes: new.memory_swap_bytes.or(old.memory_swap_bytes),
        oom_score_adj: new
            .oom_score_adj
            .filter(|score| *score != 0)
            .or(old.oom_score_adj),
        cpuset_cpus: text(&new.cpuset_cpus, &old.cpuset_cpus),
        cpuset_mems: text(&new.cpuset_mems, &old.cpuset_mems),
        hugepages,
        unified,
    }
}

fn said(value: i64) -> Option<i64> {
    (value != 0).then_some(value)
}

fn positive(field: &str, value: i64) -> Result<Option<u64>> {
    let value = u64::try_from(value)
        .map_err(|_| Error::invalid(format!("resources.{field} = {value} is negative")))?;
    Ok((value != 0).then_some(value))
}

fn oom_score_adj(value: i64) -> Result<i32> {
    match i32::try_from(value) {
        Ok(small) if value.abs() <= OOM_SCORE_ADJ_MAX => Ok(small),
        _ => Err(Error::invalid(format!(
            "resources.oom_score_adj = {value} is not between -1000 and 1000"
        ))),
    }
}

/// Names of cgroup files become paths, so they are no more than names.
fn unified(cri: &LinuxContainerResources) -> Result<std::collections::BTreeMap<String, String>> {
    let is_name = |name: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._".contains(&b);
        // `cgroup.procs` and its like would move or kill processes.
        name.contains('.') && !name.starts_with("cgroup.") && name.bytes().all(plain)
    };
    match cri.unified.keys().find(|name| !is_name(name)) {
        Some(name) => Err(Error::invalid(format!(
            "resources.unified: {name:?} is not a limit of cgroup v2"
        ))),
        None => Ok(cri.unified.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_means_not_said() {
        let none = from_cri(Some(&LinuxContainerResources::default())).unwrap();
        assert_eq!(none.memory_bytes, None);
        assert_eq!(none.cpu_shares, None);
        assert_eq!(none.oom_score_adj, Some(0));
    }

    #[test]
    fn limits_read_back_as_they_were_given() {
        let given = LinuxContainerResources {
            cpu_period: 100_000,
            cpu_quota: 20_000,
            cpu_shares: 1024,
            memory_limit_in_bytes: 64 << 20,
            memory_swap_limit_in_bytes: 64 << 20,
            oom_score_adj: -997,
            cpuset_cpus: "0-1".into(),
            unified: [("memory.oom.group".into(), "1".into())].into(),
            ..Default::default()
        };
        assert_eq!(to_cri(&from_cri(Some(&given)).unwrap()), given);
    }

    #[test]
    fn an_update_changes_what_it_says_and_no_more() {
        let limits = |memory, shares| Resources {
            memory_bytes: memory,
            cpu_shares: shares,
            ..Resources::default()
        };
        let now = merged(&limits(Some(1), Some(2)), &limits(Some(3), None));
        assert_eq!(now, limits(Some(3), Some(2)));
    }

    #[test]
    fn an_update_of_one_limit_leaves_the_others() {
        let given = LinuxContainerResources {
            cpu_shares: 1024,
            memory_limit_in_bytes: 64 << 20,
            oom_score_adj: -997,
            ..Default::default()
        };
        let update = LinuxContainerResources {
            cpuset_cpus: "0-1".into(),
            ..Default::default()
        };
        let [old, new] = [&given, &update].map(|cri| from_cri(Some(cri)).unwrap());
        let all = LinuxContainerResources {
            cpuset_cpus: "0-1".into(),
            ..given
        };
        assert_eq!(to_cri(&merged(&old, &new)), all);
    }

    #[track_caller]
    fn check_refused(cri: LinuxContainerResources, names: &str) {
        let error = from_cri(Some(&cri)).unwrap_err().to_string();
        assert!(error.contains(names), "{error}");
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let unified = |name: &str| LinuxContainerResources {
            unified: [(name.to_string(), "1".into())].into(),
            ..Default::default()
        };
        check_refused(unified("../cgroup.procs"), "../cgroup.procs");
        check_refused(unified("cgroup.kill"), "cgroup.kill");
        let too_much = LinuxContainerResources {
            oom_score_adj: 1001,
            ..Default::default()
        };
        check_refused(too_much, "oom_score_adj");
    }
}
