//! What pods may ask for, by handler.

use cri_api::v1::{LinuxPodSandboxConfig, NamespaceOption, PodSandboxMetadata, UserNamespace};
use sandbox::ImageForm;

use super::*;

const HOST: Features = Features {
    image_form: ImageForm::Mounted,
    host_network: true,
    host_namespaces: true,
    recursive_read_only_mounts: true,
    user_namespaces: false,
};

const VM: Features = Features {
    image_form: ImageForm::Extents,
    host_network: false,
    host_namespaces: false,
    ..HOST
};

fn config(options: NamespaceOption) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: "web".into(),
            uid: "u".into(),
            namespace: "default".into(),
            attempt: 0,
        }),
        linux: Some(LinuxPodSandboxConfig {
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: Some(options),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn plan(config: &PodSandboxConfig, features: &Features) -> Result<SandboxPlan> {
    let id = SandboxId("i".into());
    SandboxPlan::new(id, config, "kvm", features, 1, String::new())
}

#[track_caller]
fn check_refused(config: &PodSandboxConfig, features: &Features, why: &str) {
    let error = plan(config, features).unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
}

#[test]
fn a_pod_that_says_nothing_shares_processes_among_its_containers_and_nothing_with_the_node() {
    let plan = plan(&config(NamespaceOption::default()), &VM).unwrap();
    assert!(plan.own_network && plan.pod.shared_pid && !plan.pod.host_pid && !plan.pod.host_ipc);
}

#[test]
fn a_handler_refuses_what_it_can_not_share() {
    let node: i32 = NamespaceMode::Node.into();
    let network = NamespaceOption {
        network: node,
        ..Default::default()
    };
    let pid = NamespaceOption {
        pid: node,
        ..Default::default()
    };
    let ipc = NamespaceOption {
        ipc: node,
        ..Default::default()
    };
    for (options, why) in [(network, "network"), (pid, "PID"), (ipc, "IPC")] {
        let config = config(options);
        assert!(plan(&config, &HOST).is_ok(), "{why}");
        check_refused(&config, &VM, why);
    }
}

#[test]
fn a_user_namespace_is_refused_rather_than_left_out() {
    let with = |mode: NamespaceMode| {
        config(NamespaceOption {
            userns_options: Some(UserNamespace {
                mode: mode.into(),
                ..Default::default()
            }),
            ..Default::default()
        })
    };
    assert!(plan(&with(NamespaceMode::Node), &HOST).is_ok());
    check_refused(&with(NamespaceMode::Pod), &HOST, "user namespace");
    check_refused(&with(NamespaceMode::Container), &HOST, "userns_options");
}

fn with_linux(change: impl FnOnce(&mut LinuxPodSandboxConfig)) -> PodSandboxConfig {
    let node = NamespaceMode::Node.into();
    let mut config = config(NamespaceOption {
        network: node,
        ..Default::default()
    });
    change(config.linux.as_mut().unwrap());
    config
}

#[test]
fn a_sysctl_never_changes_the_node() {
    let sysctl = |name: &str| {
        with_linux(|linux| linux.sysctls = [(name.to_string(), "1".to_string())].into())
    };
    assert!(plan(&sysctl("kernel.shm_rmid_forced"), &HOST).is_ok());
    check_refused(
        &sysctl("net.ipv4.ip_forward"),
        &HOST,
        "would change the node",
    );
    check_refused(&sysctl("../../etc/passwd"), &HOST, "not a name");
}

#[test]
fn a_cgroup_parent_is_a_path_and_not_a_slice() {
    let parent = |path: &str| with_linux(|linux| linux.cgroup_parent = path.into());
    assert!(plan(&parent("/kubepods/pod1"), &HOST).is_ok());
    check_refused(&parent("kubepods.slice"), &HOST, "cgroupDriver");
    check_refused(&parent("/a/../.."), &HOST, "plain path");
}

#[test]
fn names_and_paths_are_checked() {
    let good = config(NamespaceOption::default());
    let nameless = PodSandboxConfig {
        metadata: None,
        ..good.clone()
    };
    check_refused(&nameless, &HOST, "metadata");
    let odd_host = PodSandboxConfig {
        hostname: "a b".into(),
        ..good.clone()
    };
    check_refused(&odd_host, &HOST, "hostname");
    let relative = PodSandboxConfig {
        log_directory: "logs".into(),
        ..good
    };
    check_refused(&relative, &HOST, "log_directory");
}
