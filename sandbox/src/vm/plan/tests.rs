//! Tests of plans, none of which needs a node.

use super::super::config::tests::good as config;
use super::*;
use crate::SandboxId;

fn spec() -> SandboxSpec {
    SandboxSpec {
        id: SandboxId("p1".into()),
        pod: crate::spec::PodName::default(),
        hostname: "pod".into(),
        network_namespace: Some("/run/netns/p1".into()),
        host_ipc: false,
        shared_pid: false,
        sysctls: Default::default(),
        cgroup_parent: String::new(),
        resources: Resources::default(),
        overhead: Resources::default(),
        privileged: false,
        state_dir: "/run/bulkhead/sandboxes/p1".into(),
    }
}

#[test]
fn a_plan_becomes_a_machine() {
    let mut config = config();
    config.kernel_params = vec!["quiet".into()];
    let planned = Planned::new(&config, 4, spec()).unwrap();
    let machine = planned.machine(&config, Vec::new());
    assert_eq!((machine.vcpus, machine.memory_mib), (4, 256));
    assert!(machine.cmdline.starts_with("console=ttyS0 quiet panic=-1 "));
    assert!(machine.cmdline.ends_with(" quiet"));
    assert_eq!(machine.console_limit_bytes, 256 << 10);
    assert_eq!(planned.cgroup.path(), "/bulkhead/p1");
}

#[test]
fn its_cgroup_has_room_for_the_machine_and_the_vmm() {
    let planned = Planned::new(&config(), 4, spec()).unwrap();
    let limits = planned.limits(&config());
    assert_eq!(limits.memory_max, Some((256 + 64) << 20));
    assert_eq!(limits.cpu_max, None);
}

#[track_caller]
fn check_refused(spec: SandboxSpec, words: &str) {
    let error = Planned::new(&config(), 4, spec).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn what_belongs_to_the_nodes_kernel_is_refused_by_name() {
    let host_network = SandboxSpec {
        network_namespace: None,
        ..spec()
    };
    check_refused(host_network, "hostNetwork");
    let host_ipc = SandboxSpec {
        host_ipc: true,
        ..spec()
    };
    check_refused(host_ipc, "hostIPC");
}

#[track_caller]
fn check_fits(limit_mib: u64, fits: bool) {
    let config = config();
    let sum = Resources {
        memory_bytes: Some(512 << 20),
        ..Resources::default()
    };
    let kubelet = Some(KubeletLimits {
        memory_bytes: Some(limit_mib << 20),
        cpu_limited: true,
    });
    let size = size(&policy(&config, 4), &sum, kubelet);
    assert_eq!(
        check_room(&config, &size, kubelet).is_ok(),
        fits,
        "{limit_mib}"
    );
}

#[test]
fn a_machine_that_would_be_killed_is_not_started() {
    check_fits(512 + 128 + 64, true);
    check_fits(512 + 128 + 63, false);
}

#[test]
fn the_refusal_tells_the_arithmetic_and_the_remedy() {
    let kubelet = KubeletLimits {
        memory_bytes: Some(512 << 20),
        cpu_limited: true,
    };
    let sum = Resources {
        memory_bytes: Some(512 << 20),
        ..Resources::default()
    };
    let config = config();
    let size = size(&policy(&config, 4), &sum, Some(kubelet));
    let error = check_room(&config, &size, Some(kubelet)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "fit the machine into the pod's memory limit of 512 MiB: it takes 704 MiB = 640 (machine: \
         640 MiB = 512 (limits of the containers) + 128 (system)) + 64 (VMM); the RuntimeClass needs \
         overhead.podFixed.memory of 192Mi"
    );
}
