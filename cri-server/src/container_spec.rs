//! A container as CRI asks for it, checked and worded for sandboxes.
//!
//! `ContainerConfig + SavedPod + Image ──plan──▶ ContainerPlan ──(look at the node)──▶ ContainerSpec`.
//! Planning looks at nothing but its arguments.

use std::path::PathBuf;

use cri_api::v1::{ContainerConfig, LinuxContainerSecurityContext, NamespaceMode};
use image_service::ImageConfig;
use sandbox::spec::FileContent;
use sandbox::{
    ContainerId, ContainerSpec, Device, Features, Mount, Namespaces, PidMode, ProcessSpec,
    Resources, Rlimit, Rootfs,
};

pub use etc::check_dns;
pub use log_path::LogPath;
pub use mounts::{PlannedMount, PlannedSource, resolve};
pub use profiles::SeccompChoice;
pub use stop_signal::to_cri as stop_signal_to_cri;

use crate::error::{Error, Kind, Result};
use crate::pods::SavedPod;
use crate::resources;

mod capabilities;
mod command;
mod devices;
mod etc;
mod log_path;
mod mounts;
mod namespaces;
mod profiles;
mod stop_signal;
mod user;

/// A container that is allowed; the node was not looked at yet.
#[derive(Clone, Debug)]
pub struct ContainerPlan {
    /// In CRI's order.
    pub mounts: Vec<PlannedMount>,
    /// Its limits.
    pub resources: Resources,
    /// Its log.
    pub log: Option<LogPath>,
    /// Number of the signal that asks it to end.
    pub stop_signal: u32,
    /// Which seccomp filter it wants.
    pub seccomp: SeccompChoice,
    process: ProcessSpec,
    pid: PidMode,
    files: Vec<FileContent>,
    privileged: bool,
    readonly_rootfs: bool,
    masked_paths: Vec<String>,
    readonly_paths: Vec<String>,
    stdin: bool,
    stdin_once: bool,
}

/// What was found on the node for a plan.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its files.
    pub rootfs: Rootfs,
    /// Its mounts, in the order to mount in.
    pub mounts: Vec<Mount>,
    /// Its devices.
    pub devices: Vec<Device>,
    /// Its seccomp filter.
    pub seccomp: Option<Vec<u8>>,
    /// Its log, in a directory that is there and by a path without links.
    pub log_path: Option<PathBuf>,
}

/// Unreadable unless the pod says otherwise: the kernel's secrets and its dangerous knobs.
const MASKED_PATHS: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Read-only unless the pod says otherwise.
const READONLY_PATHS: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

impl ContainerPlan {
    /// Checks what is asked for.
    pub fn new(
        config: &ContainerConfig,
        pod: &SavedPod,
        image: &ImageConfig,
        features: &Features,
        rlimits: &[Rlimit],
    ) -> Result<Self> {
        let linux = config.linux.clone().unwrap_or_default();
        let security = linux.security_context.clone();
        let (masked_paths, readonly_paths) = hidden_paths(security.as_ref());
        let security = security.unwrap_or_default();
        check_security(&security, pod)?;
        let mounts = mounts::plan(&config.mounts, features)?;
        let resources = resources::from_cri(linux.resources.as_ref())?;
        let hostname = hostname(pod);
        Ok(Self {
            process: process(config, image, &security, &hostname, &resources, rlimits)?,
            pid: namespaces::pid(&security, pod, features)?,
            files: etc::files(pod, &hostname, &mounts),
            log: LogPath::new(&pod.log_directory, &config.log_path)?,
            stop_signal: stop_signal::number(config.stop_signal(), &image.stop_signal)?,
            seccomp: profiles::seccomp(&security)?,
            privileged: security.privileged,
            readonly_rootfs: security.readonly_rootfs,
            masked_paths,
            readonly_paths,
            stdin: config.stdin,
            stdin_once: config.stdin_once,
            mounts,
            resources,
        })
    }

    /// The container of whose PID namespace it is to be part.
    pub fn pid_target(&self) -> Option<&ContainerId> {
        match &self.pid {
            PidMode::Target(id) => Some(id),
            _ => None,
        }
    }

    /// Names that container by its whole id.
    pub fn with_pid_target(mut self, id: ContainerId) -> Self {
        self.pid = PidMode::Target(id);
        self
    }

    /// The AppArmor profile that it wants.
    pub fn apparmor_profile(&self) -> Option<&str> {
        self.process.apparmor_profile.as_deref()
    }

    /// Names of the capabilities in its bounding set.
    pub fn capabilities(&self) -> Vec<String> {
        let held = capabilities::names(&self.process.capabilities);
        held.map(|name| format!("CAP_{name}")).collect()
    }

    /// The container to be.
    pub fn into_spec(self, id: ContainerId, found: Found) -> ContainerSpec {
        ContainerSpec {
            id,
            rootfs: found.rootfs,
            readonly_rootfs: self.readonly_rootfs,
            mounts: found.mounts,
            files: self.files,
            devices: found.devices,
            process: ProcessSpec {
                seccomp: found.seccomp,
                ..self.process
            },
            namespaces: Namespaces { pid: self.pid },
            resources: self.resources,
            masked_paths: self.masked_paths,
            readonly_paths: self.readonly_paths,
            privileged: self.privileged,
            log_path: found.log_path,
            stdin: self.stdin,
            stdin_once: self.stdin_once,
        }
    }
}

/// The devices of a container. Blocks on the node's file system.
pub fn devices(config: &ContainerConfig) -> Result<Vec<Device>> {
    devices::devices(config)
}

/// What the pod's containers see as their host name.
pub fn hostname(pod: &SavedPod) -> String {
    if pod.hostname.is_empty() {
        let node = rustix::system::uname();
        return node.nodename().to_string_lossy().into_owned();
    }
    pod.hostname.clone()
}

fn process(
    config: &ContainerConfig,
    image: &ImageConfig,
    security: &LinuxContainerSecurityContext,
    hostname: &str,
    resources: &Resources,
    rlimits: &[Rlimit],
) -> Result<ProcessSpec> {
    let sets = capabilities::sets(security.capabilities.as_ref(), security.privileged)?;
    Ok(ProcessSpec {
        args: command::args(config, &image.entrypoint, &image.cmd)?,
        env: command::environment(config, &image.env, hostname)?,
        cwd: command::working_dir(&config.working_dir, &image.working_dir)?,
        user: user::user(security, &image.user)?,
        capabilities: sets,
        no_new_privileges: security.no_new_privs,
        seccomp: None,
        apparmor_profile: profiles::apparmor(security)?,
        selinux_label: profiles::selinux(security),
        rlimits: rlimits.to_vec(),
        terminal: config.tty,
        oom_score_adj: resources.oom_score_adj,
    })
}

/// Unmasking all is done by an empty list in a security context, so only its absence means "as usual".
fn hidden_paths(security: Option<&LinuxContainerSecurityContext>) -> (Vec<String>, Vec<String>) {
    match security {
        Some(security) if security.privileged => Default::default(),
        Some(security) => (
            security.masked_paths.clone(),
            security.readonly_paths.clone(),
        ),
        None => (
            MASKED_PATHS.map(String::from).into(),
            READONLY_PATHS.map(String::from).into(),
        ),
    }
}

fn check_security(security: &LinuxContainerSecurityContext, pod: &SavedPod) -> Result<()> {
    if security.privileged && !pod.privileged {
        return Err(Error::invalid(
            "a privileged container needs a pod that allows it: \
             set linux.security_context.privileged of the pod",
        ));
    }
    let options = security.namespace_options.clone().unwrap_or_default();
    let userns = options.userns_options.map(|options| options.mode());
    if !matches!(
        userns,
        None | Some(NamespaceMode::Node | NamespaceMode::Pod)
    ) {
        return Err(Error::invalid(
            "userns_options of a container can't be other than the pod's",
        ));
    }
    let paths = security.masked_paths.iter().chain(&security.readonly_paths);
    match paths.into_iter().find(|path| !path.starts_with('/')) {
        Some(path) => Err(Error::new(
            Kind::Invalid,
            format!("masked or read-only path {path:?} is not absolute"),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
