//! Containers and overhead → memory and vCPUs of a machine, with the arithmetic as text.
//!
//! Memory is the sum over the containers (their limit, or a default where there is none) plus what
//! the system needs. vCPUs are all CPUs of the node where a container has no CPU limit, else the sum
//! of limits, rounded up once. When a machine is made its containers aren't known yet: the kubelet
//! sends their sum, but leaves out of it whoever has no limit; that some have none shows in the
//! cgroup that it made for the pod, which then has no limit either.

mod cover;

pub use cover::{Cover, Need, cover};

use serde::{Deserialize, Serialize};

use crate::Resources;

const MIB: u64 = 1 << 20;

/// What the operator and the node have to say about sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What a container without a memory limit counts.
    pub default_container_memory_mib: u64,
    /// What the guest's kernel and agent get beside the containers.
    pub system_memory_mib: u64,
    /// The least memory that the kernel boots in.
    pub minimum_memory_mib: u64,
    /// CPUs of the node.
    pub host_cpus: u32,
}

/// What the kubelet's cgroup of the pod tells: a limit is there only if every container has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KubeletLimits {
    /// `memory.max`; `None` means that there is no limit.
    pub memory_bytes: Option<u64>,
    /// `cpu.max` is a number.
    pub cpu_limited: bool,
}

/// The size of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Guest memory.
    pub memory_mib: u64,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// How the memory came about.
    pub memory_because: String,
    /// How the number of CPUs came about.
    pub vcpus_because: String,
}

/// The size of a machine for a pod of which the kubelet told us the sum of its containers.
pub fn size(policy: &Policy, sum: &Resources, kubelet: Option<KubeletLimits>) -> Size {
    let (memory_mib, memory_because) = memory(policy, sum, kubelet);
    let (vcpus, vcpus_because) = vcpus(policy, sum, kubelet);
    Size {
        memory_mib,
        vcpus,
        memory_because,
        vcpus_because,
    }
}

fn memory(policy: &Policy, sum: &Resources, kubelet: Option<KubeletLimits>) -> (u64, String) {
    let default = policy.default_container_memory_mib;
    let system = policy.system_memory_mib;
    let limits = sum.memory_bytes.map_or(0, mib_of_bytes);
    let partial = kubelet.is_some_and(|kubelet| kubelet.memory_bytes.is_none());
    let (containers, told) = match (limits, partial) {
        (0, _) => (
            default,
            format!("{default} (no limit, so one container's default)"),
        ),
        (limits, false) => (limits, format!("{limits} (limits of the containers)")),
        (limits, true) => (
            limits.saturating_add(default),
            format!(
                "{limits} (limits of the containers) + {default} (default of one without a limit)"
            ),
        ),
    };
    let wanted = containers.saturating_add(system);
    let least = policy.minimum_memory_mib;
    if wanted < least {
        let told = format!("{least} MiB, the least that boots, for {told} + {system} (system)");
        return (least, told);
    }
    (wanted, format!("{wanted} MiB = {told} + {system} (system)"))
}

/// What a machine's interrupt controllers have numbers for.
const MAX_VCPUS: u32 = 255;

fn vcpus(policy: &Policy, sum: &Resources, kubelet: Option<KubeletLimits>) -> (u32, String) {
    let host = policy.host_cpus.clamp(1, MAX_VCPUS);
    let all = if policy.host_cpus > MAX_VCPUS {
        "as many as a machine can have"
    } else {
        "all CPUs of the node"
    };
    let partial = kubelet.is_some_and(|kubelet| !kubelet.cpu_limited);
    let limit = sum.cpu_quota_us.and_then(|quota| u64::try_from(quota).ok());
    let period = sum
        .cpu_period_us
        .filter(|period| *period > 0)
        .unwrap_or(100_000);
    let Some(quota) = limit.filter(|quota| *quota > 0) else {
        return (host, format!("{host} = {all}: no CPU limit"));
    };
    let limits = hundredths(quota, period);
    if partial {
        let told = format!("{host} = {all}: {limits} CPUs of limits, but a container without one");
        return (host, told);
    }
    let wanted = quota.div_ceil(period);
    if wanted > u64::from(host) {
        return (host, format!("{host} = {all}, for {limits} CPUs of limits"));
    }
    let wanted = u32::try_from(wanted).expect("it is at most the number of CPUs");
    (
        wanted,
        format!("{wanted} = {limits} CPUs of limits, rounded up"),
    )
}

/// A size in bytes as MiB, rounded up; nothing where there is no limit.
fn mib_of_bytes(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or(0).div_ceil(MIB)
}

/// `quota / period` with two digits behind the point.
fn hundredths(quota: u64, period: u64) -> String {
    let hundredths = quota.saturating_mul(100) / period;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests;
