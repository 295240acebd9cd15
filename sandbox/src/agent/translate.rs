//! A container and a process as the seam describes them → as the agent's protocol does.

use agent_api::v1;

use super::resources::to_agent;
use crate::spec::{Principal, ProcessSpec, User};
use crate::{ContainerId, ContainerSpec, Device, ExecSpec, PidMode};

/// A container's files, in whichever way its kind of sandbox provides them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Files {
    /// Its root.
    pub(crate) rootfs: v1::rootfs::Kind,
    /// What is mounted into it.
    pub(crate) mounts: Vec<v1::Mount>,
    /// What is written into it before it starts, beside what the container asks for.
    pub(crate) files: Vec<v1::File>,
    /// What can't be written to, beside what the container asks for.
    pub(crate) readonly_paths: Vec<String>,
    /// Where its output goes, if the agent writes it.
    pub(crate) log_path: String,
    /// Where it leaves its last words, if the agent tells them.
    pub(crate) last_words_path: String,
}

/// The request that makes a container.
pub(crate) fn to_request(spec: &ContainerSpec, provided: Files) -> v1::CreateContainerRequest {
    let mut files: Vec<_> = spec.files.iter().map(file).collect();
    files.extend(provided.files);
    let mut readonly_paths = spec.readonly_paths.clone();
    readonly_paths.extend(provided.readonly_paths);
    v1::CreateContainerRequest {
        container_id: spec.id.0.clone(),
        rootfs: Some(v1::Rootfs {
            kind: Some(provided.rootfs),
        }),
        mounts: provided.mounts,
        process: Some(process(&spec.process)),
        namespaces: Some(namespaces(&spec.namespaces.pid)),
        resources: Some(to_agent(&spec.resources)),
        devices: spec.devices.iter().map(device).collect(),
        masked_paths: spec.masked_paths.clone(),
        readonly_paths,
        readonly_rootfs: spec.readonly_rootfs,
        privileged: spec.privileged,
        log_path: provided.log_path,
        stdin: spec.stdin,
        stdin_once: spec.stdin_once,
        cgroup_name: String::new(),
        rootfs_propagation: String::new(),
        files,
        last_words_path: provided.last_words_path,
    }
}

/// The first message of an exec.
pub(crate) fn exec(id: &ContainerId, spec: &ExecSpec) -> v1::StreamStart {
    let timeout_ms = spec.timeout.map_or(0, |timeout| {
        // 0 means never, so what is too short to count becomes the shortest that does.
        u64::try_from(timeout.as_millis())
            .unwrap_or(u64::MAX)
            .max(1)
    });
    v1::StreamStart {
        process: Some(v1::Process {
            args: spec.args.clone(),
            terminal: spec.terminal,
            ..v1::Process::default()
        }),
        timeout_ms,
        ..attach(id, spec)
    }
}

/// The first message of an attach.
pub(crate) fn attach(id: &ContainerId, spec: &ExecSpec) -> v1::StreamStart {
    v1::StreamStart {
        container_id: id.0.clone(),
        process: None,
        stdin: spec.stdin,
        stdout: spec.stdout,
        stderr: spec.stderr && !spec.terminal,
        timeout_ms: 0,
    }
}

fn process(spec: &ProcessSpec) -> v1::Process {
    let capabilities = spec.capabilities;
    v1::Process {
        args: spec.args.clone(),
        env: spec.env.clone(),
        cwd: spec.cwd.clone(),
        user: Some(user(&spec.user)),
        capabilities: Some(v1::Capabilities {
            bounding: capabilities.bounding,
            effective: capabilities.permitted,
            permitted: capabilities.permitted,
            inheritable: capabilities.inheritable,
            ambient: capabilities.ambient,
        }),
        no_new_privileges: spec.no_new_privileges,
        seccomp: spec.seccomp.clone().unwrap_or_default(),
        apparmor_profile: spec.apparmor_profile.clone().unwrap_or_default(),
        selinux_label: spec.selinux_label.clone().unwrap_or_default(),
        rlimits: spec
            .rlimits
            .iter()
            .map(|rlimit| v1::Rlimit {
                kind: rlimit.kind.clone(),
                soft: rlimit.soft,
                hard: rlimit.hard,
            })
            .collect(),
        terminal: spec.terminal,
        width: 0,
        height: 0,
        // Never inherited: the agent itself is the last that the kernel should kill.
        oom_score_adj: Some(spec.oom_score_adj.unwrap_or(0)),
    }
}

fn user(user: &User) -> v1::User {
    use v1::user::{Group as G, User as U};
    v1::User {
        user: user.user.clone().map(|principal| match principal {
            Principal::Id(uid) => U::Uid(uid),
            Principal::Name(name) => U::Name(name),
        }),
        group: user.group.clone().map(|principal| match principal {
            Principal::Id(gid) => G::Gid(gid),
            Principal::Name(name) => G::GroupName(name),
        }),
        supplemental_groups: user.supplemental_groups.clone(),
        strict_groups: user.strict_groups,
    }
}

fn namespaces(pid: &PidMode) -> v1::Namespaces {
    let (kind, target) = match pid {
        PidMode::Container => (v1::PidNamespace::PidContainer, ""),
        PidMode::Pod => (v1::PidNamespace::PidPod, ""),
        PidMode::Node => (v1::PidNamespace::PidHost, ""),
        PidMode::Target(id) => (v1::PidNamespace::PidTarget, id.0.as_str()),
    };
    v1::Namespaces {
        pid: kind.into(),
        pid_target: target.to_owned(),
    }
}

fn device(device: &Device) -> v1::Device {
    v1::Device {
        path: device.path.clone(),
        source: device.host_path.to_string_lossy().into_owned(),
        access: device.access.clone(),
    }
}

fn file(file: &crate::spec::FileContent) -> v1::File {
    v1::File {
        path: file.path.clone(),
        content: file.content.clone(),
        mode: file.mode,
        uid: 0,
        gid: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_and_numbers_of_users_stay_apart() {
        let told = user(&User {
            user: Some(Principal::Name("www-data".into())),
            group: Some(Principal::Id(33)),
            supplemental_groups: vec![4],
            strict_groups: true,
        });
        assert_eq!(told.user, Some(v1::user::User::Name("www-data".into())));
        assert_eq!(told.group, Some(v1::user::Group::Gid(33)));
        assert!(told.strict_groups);
        assert_eq!(user(&User::default()).user, None);
    }

    #[test]
    fn an_exec_inherits_what_it_does_not_say() {
        let spec = ExecSpec {
            args: vec!["ls".into()],
            stdout: true,
            ..ExecSpec::default()
        };
        let start = exec(&ContainerId("c1".into()), &spec);
        let process = start.process.unwrap();
        assert_eq!(process.args, ["ls"]);
        assert_eq!((process.user, process.capabilities), (None, None));
        assert_eq!(start.timeout_ms, 0);
    }

    #[test]
    fn the_shortest_timeout_is_not_taken_for_none() {
        let spec = ExecSpec {
            args: vec!["ls".into()],
            timeout: Some(Duration::from_micros(1)),
            ..ExecSpec::default()
        };
        assert_eq!(exec(&ContainerId("c1".into()), &spec).timeout_ms, 1);
    }

    #[test]
    fn a_terminal_has_no_error_stream() {
        let spec = ExecSpec {
            terminal: true,
            stdout: true,
            stderr: true,
            ..ExecSpec::default()
        };
        assert!(!attach(&ContainerId("c1".into()), &spec).stderr);
    }

    #[test]
    fn another_containers_processes_are_asked_for_by_its_id() {
        let told = namespaces(&PidMode::Target(ContainerId("c0".into())));
        assert_eq!(told.pid(), v1::PidNamespace::PidTarget);
        assert_eq!(told.pid_target, "c0");
    }
}
