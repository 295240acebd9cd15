//! Pods that tell sizing rules apart, and what they get.

use super::*;

pub(super) const POLICY: Policy = Policy {
    default_container_memory_mib: 128,
    system_memory_mib: 128,
    minimum_memory_mib: 96,
    host_cpus: 8,
};

/// The kubelet's cgroup of a pod in which every container has limits.
const LIMITED: Option<KubeletLimits> = Some(KubeletLimits {
    memory_bytes: Some(8 << 30),
    cpu_limited: true,
});

/// The kubelet's cgroup of a pod in which some container has none.
const UNLIMITED: Option<KubeletLimits> = Some(KubeletLimits {
    memory_bytes: None,
    cpu_limited: false,
});

fn sum(millicpus: i64, memory_mib: i64) -> Resources {
    Resources {
        cpu_shares: Some(2),
        cpu_quota_us: Some(millicpus * 100),
        cpu_period_us: Some(100_000),
        memory_bytes: Some(memory_mib << 20),
        ..Resources::default()
    }
}

#[track_caller]
fn check(sum: &Resources, kubelet: Option<KubeletLimits>, vcpus: u32, memory_mib: u64) -> Size {
    let size = size(&POLICY, sum, kubelet);
    assert_eq!(
        (size.vcpus, size.memory_mib),
        (vcpus, memory_mib),
        "{size:?}"
    );
    size
}

#[test]
fn two_containers_with_limits_get_their_sum_rounded_up_once() {
    let size = check(&sum(1000, 512), LIMITED, 1, 640);
    assert_eq!(
        size.memory_because,
        "640 MiB = 512 (limits of the containers) + 128 (system)"
    );
    assert_eq!(size.vcpus_because, "1 = 1.00 CPUs of limits, rounded up");
    check(&sum(1500, 512), LIMITED, 2, 640);
}

#[test]
fn one_big_container_gets_its_limits() {
    check(&sum(2000, 6144), LIMITED, 2, 6272);
}

#[test]
fn a_best_effort_pod_gets_one_default_and_all_cpus() {
    let size = check(&sum(0, 0), UNLIMITED, 8, 256);
    assert_eq!(
        size.memory_because,
        "256 MiB = 128 (no limit, so one container's default) + 128 (system)"
    );
    assert_eq!(size.vcpus_because, "8 = all CPUs of the node: no CPU limit");
    check(&Resources::default(), None, 8, 256);
}

#[test]
fn a_machine_has_no_more_cpus_than_it_can_have() {
    let policy = Policy {
        host_cpus: 384,
        ..POLICY
    };
    let size = size(&policy, &Resources::default(), None);
    assert_eq!(size.vcpus, 255);
    assert_eq!(
        size.vcpus_because,
        "255 = as many as a machine can have: no CPU limit"
    );
}

#[test]
fn a_sum_that_leaves_a_container_out_is_recognised() {
    let size = check(&sum(1000, 512), UNLIMITED, 8, 768);
    assert_eq!(
        size.memory_because,
        "768 MiB = 512 (limits of the containers) + 128 (default of one without a limit) + 128 (system)"
    );
    assert_eq!(
        size.vcpus_because,
        "8 = all CPUs of the node: 1.00 CPUs of limits, but a container without one"
    );
}

#[test]
fn without_a_kubelet_the_sum_is_taken_at_its_word() {
    check(&sum(1000, 512), None, 1, 640);
}

#[test]
fn a_small_limit_still_gets_the_system_its_share() {
    check(&sum(0, 64), LIMITED, 8, 192);
}

#[test]
fn no_machine_is_too_small_to_boot() {
    let policy = Policy {
        system_memory_mib: 16,
        ..POLICY
    };
    let size = size(&policy, &sum(100, 32), LIMITED);
    assert_eq!(size.memory_mib, 96);
    assert_eq!(
        size.memory_because,
        "96 MiB, the least that boots, for 32 (limits of the containers) + 16 (system)"
    );
}

#[test]
fn more_cpus_than_the_node_has_are_not_given() {
    let size = check(&sum(64_000, 512), LIMITED, 8, 640);
    assert_eq!(
        size.vcpus_because,
        "8 = all CPUs of the node, for 64.00 CPUs of limits"
    );
}

#[test]
fn memory_is_rounded_up_to_mib() {
    let mut odd = sum(1000, 0);
    odd.memory_bytes = Some((100 << 20) + 1);
    check(&odd, LIMITED, 1, 229);
}

#[test]
fn absurd_numbers_do_not_overflow() {
    let mut absurd = sum(0, 0);
    absurd.memory_bytes = Some(i64::MAX);
    absurd.cpu_quota_us = Some(i64::MAX);
    absurd.cpu_period_us = Some(1);
    let size = size(&POLICY, &absurd, None);
    assert_eq!(size.vcpus, 8);
    absurd.memory_bytes = Some(i64::MIN);
    absurd.cpu_quota_us = Some(i64::MIN);
    check(&absurd, None, 8, 256);
}
