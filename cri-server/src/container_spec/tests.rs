//! Whole containers: how the pod, the image and the container come together.

use std::collections::BTreeMap;

use cri_api::v1::{LinuxContainerConfig, NamespaceOption};
use sandbox::{ImageForm, SandboxId};

use super::*;
use crate::pods::{PodKey, PodState, SavedNetwork};

const FEATURES: Features = Features {
    image_form: ImageForm::Mounted,
    host_network: true,
    host_namespaces: true,
    recursive_read_only_mounts: true,
    user_namespaces: false,
};

fn pod() -> SavedPod {
    SavedPod {
        id: SandboxId("pod".into()),
        key: PodKey {
            namespace: "default".into(),
            name: "web".into(),
            uid: "u".into(),
            attempt: 0,
        },
        state: PodState::Ready,
        reason: String::new(),
        fingerprint: String::new(),
        handler: String::new(),
        created_at_ns: 1,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        log_directory: "/var/log/pods/web".into(),
        hostname: "web".into(),
        dns: None,
        host_pid: false,
        host_ipc: false,
        shared_pid: true,
        privileged: false,
        network: SavedNetwork::default(),
        resources: Resources::default(),
        overhead: Resources::default(),
        sandbox: None,
    }
}

fn config(security: Option<LinuxContainerSecurityContext>) -> ContainerConfig {
    ContainerConfig {
        command: vec!["sh".into()],
        linux: Some(LinuxContainerConfig {
            resources: None,
            security_context: security,
        }),
        ..Default::default()
    }
}

fn plan(config: &ContainerConfig, pod: &SavedPod) -> Result<ContainerPlan> {
    ContainerPlan::new(config, pod, &ImageConfig::default(), &FEATURES, &[])
}

fn with_pid(mode: NamespaceMode) -> ContainerConfig {
    config(Some(LinuxContainerSecurityContext {
        namespace_options: Some(NamespaceOption {
            pid: mode.into(),
            target_id: "other".into(),
            ..Default::default()
        }),
        ..Default::default()
    }))
}

#[test]
fn a_container_without_a_security_context_gets_the_usual_protection() {
    let plan = plan(&config(None), &pod()).unwrap();
    assert!(plan.masked_paths.contains(&"/proc/kcore".to_string()));
    assert!(plan.readonly_paths.contains(&"/proc/sys".to_string()));
    assert_eq!(plan.seccomp, SeccompChoice::Unconfined);
    assert_eq!(plan.stop_signal, 15);
}

#[test]
fn a_security_context_with_no_paths_unmasks_all() {
    let plan = plan(&config(Some(Default::default())), &pod()).unwrap();
    assert!(plan.masked_paths.is_empty() && plan.readonly_paths.is_empty());
}

#[test]
fn privilege_needs_a_privileged_pod() {
    let privileged = config(Some(LinuxContainerSecurityContext {
        privileged: true,
        ..Default::default()
    }));
    assert!(plan(&privileged, &pod()).is_err());
    let pod = SavedPod {
        privileged: true,
        ..pod()
    };
    let plan = plan(&privileged, &pod).unwrap();
    assert!(plan.capabilities().contains(&"CAP_SYS_ADMIN".to_string()));
}

#[test]
fn processes_are_seen_by_whom_the_pod_and_the_container_say() {
    let shared = pod();
    let apart = SavedPod {
        shared_pid: false,
        ..pod()
    };
    let host = SavedPod {
        host_pid: true,
        shared_pid: false,
        ..pod()
    };
    let check = |config: ContainerConfig, pod: &SavedPod, expected: Option<PidMode>| {
        assert_eq!(plan(&config, pod).map(|plan| plan.pid).ok(), expected);
    };
    check(config(None), &shared, Some(PidMode::Pod));
    check(config(None), &apart, Some(PidMode::Container));
    check(config(None), &host, Some(PidMode::Node));
    check(with_pid(NamespaceMode::Pod), &shared, Some(PidMode::Pod));
    check(with_pid(NamespaceMode::Pod), &apart, None);
    check(with_pid(NamespaceMode::Pod), &host, Some(PidMode::Node));
    check(
        with_pid(NamespaceMode::Container),
        &shared,
        Some(PidMode::Container),
    );
    let other = ContainerId("other".into());
    check(
        with_pid(NamespaceMode::Target),
        &apart,
        Some(PidMode::Target(other)),
    );
}
