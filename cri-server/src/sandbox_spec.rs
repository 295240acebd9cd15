//! A pod as CRI asks for it, checked and worded for sandboxes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cri_api::v1::{DnsConfig, LinuxSandboxSecurityContext, NamespaceMode, PodSandboxConfig};
use sandbox::spec::PodName;
use sandbox::{Features, SandboxId, SandboxSpec};

use crate::container_spec::check_dns;
use crate::error::{Error, Kind, Result};
use crate::network::Wishes;
use crate::pods::{Dns, PodKey, PodState, SavedNetwork, SavedPod};
use crate::resources;

/// Longest host name that the kernel takes.
const HOSTNAME_MAX: usize = 64;

/// A pod that is allowed; nothing of it exists yet.
#[derive(Clone, Debug)]
pub struct SandboxPlan {
    /// What will be remembered of it.
    pub pod: SavedPod,
    /// It gets a network namespace of its own.
    pub own_network: bool,
    /// What it wants of that.
    pub network: Wishes,
    sysctls: BTreeMap<String, String>,
    cgroup_parent: String,
}

impl SandboxPlan {
    /// Checks what is asked for.
    pub fn new(
        id: SandboxId,
        config: &PodSandboxConfig,
        handler: &str,
        features: &Features,
        created_at_ns: i64,
        fingerprint: String,
    ) -> Result<Self> {
        let linux = config.linux.clone().unwrap_or_default();
        let security = linux.security_context.clone().unwrap_or_default();
        let sharing = Sharing::new(&security, handler, features)?;
        check_hostname(&config.hostname)?;
        check_log_directory(&config.log_directory)?;
        check_sysctls(&linux.sysctls, &sharing)?;
        let pod = SavedPod {
            id,
            key: PodKey::try_from(config.metadata.as_ref())?,
            state: PodState::Creating,
            reason: String::new(),
            fingerprint,
            handler: handler.to_string(),
            created_at_ns,
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            log_directory: config.log_directory.clone(),
            hostname: config.hostname.clone(),
            dns: config.dns_config.as_ref().map(dns).transpose()?,
            host_pid: sharing.host_pid,
            host_ipc: sharing.host_ipc,
            shared_pid: sharing.shared_pid,
            privileged: security.privileged,
            network: SavedNetwork::default(),
            resources: resources::from_cri(linux.resources.as_ref())?,
            overhead: resources::from_cri(linux.overhead.as_ref())?,
            sandbox: None,
        };
        let cgroup_parent = cgroup_parent(&linux.cgroup_parent)?;
        Ok(Self {
            pod,
            own_network: !sharing.host_network,
            network: Wishes::new(config, &cgroup_parent)?,
            sysctls: linux.sysctls,
            cgroup_parent,
        })
    }

    /// The sandbox to be.
    pub fn spec(&self, network_namespace: Option<PathBuf>, state_dir: PathBuf) -> SandboxSpec {
        let pod = &self.pod;
        SandboxSpec {
            id: pod.id.clone(),
            pod: PodName {
                name: pod.key.name.clone(),
                namespace: pod.key.namespace.clone(),
                uid: pod.key.uid.clone(),
            },
            hostname: pod.hostname.clone(),
            network_namespace,
            host_ipc: pod.host_ipc,
            shared_pid: pod.shared_pid,
            sysctls: self.sysctls.clone(),
            cgroup_parent: self.cgroup_parent.clone(),
            resources: pod.resources.clone(),
            overhead: pod.overhead.clone(),
            privileged: pod.privileged,
            state_dir,
        }
    }
}

/// What a pod shares with the node, and its containers with each other.
struct Sharing {
    host_network: bool,
    host_pid: bool,
    host_ipc: bool,
    shared_pid: bool,
}

impl Sharing {
    fn new(
        security: &LinuxSandboxSecurityContext,
        handler: &str,
        features: &Features,
    ) -> Result<Self> {
        let options = security.namespace_options.clone().unwrap_or_default();
        let sharing = Self {
            host_network: options.network() == NamespaceMode::Node,
            host_pid: options.pid() == NamespaceMode::Node,
            host_ipc: options.ipc() == NamespaceMode::Node,
            shared_pid: options.pid() == NamespaceMode::Pod,
        };
        let cannot = |what: &str| {
            Err(Error::new(
                Kind::Unsupported,
                format!(
                    "runtime handler {handler:?} can't give a pod {what}; \
                     use a RuntimeClass with another handler"
                ),
            ))
        };
        // Never another kind of pod instead: that would take protection away in silence.
        let apart = |what: &str| {
            Err(Error::new(
                Kind::Unsupported,
                format!(
                    "a pod of runtime handler {handler:?} has a kernel of its own and can't share the \
                     node's {what}; use no RuntimeClass, or one whose handler is of kind \"namespaced\""
                ),
            ))
        };
        if sharing.host_network && !features.host_network {
            return apart("network (hostNetwork)");
        }
        if sharing.host_pid && !features.host_namespaces {
            return apart("processes (hostPID)");
        }
        if sharing.host_ipc && !features.host_namespaces {
            return apart("IPC namespace (hostIPC)");
        }
        match options.userns_options.map(|options| options.mode()) {
            None | Some(NamespaceMode::Node) => Ok(sharing),
            Some(NamespaceMode::Pod) if features.user_namespaces => Ok(sharing),
            Some(NamespaceMode::Pod) => cannot("a user namespace of its own"),
            Some(_) => Err(Error::invalid(
                "userns_options.mode is neither POD nor NODE",
            )),
        }
    }
}

fn check_hostname(hostname: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if hostname.len() <= HOSTNAME_MAX && hostname.bytes().all(plain) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "hostname {hostname:?} is longer than {HOSTNAME_MAX} or has letters that host names have not"
    )))
}

fn check_log_directory(directory: &str) -> Result<()> {
    if directory.is_empty() || Path::new(directory).is_absolute() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "log_directory {directory:?} is not an absolute path"
    )))
}

/// A sysctl of a namespace that the pod shares would change the node.
fn check_sysctls(sysctls: &BTreeMap<String, String>, sharing: &Sharing) -> Result<()> {
    for name in sysctls.keys() {
        let is_name = name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
        if !is_name || name.contains("..") || name.starts_with('/') {
            return Err(Error::invalid(format!("sysctl {name:?} is not a name")));
        }
        if sharing.host_network && name.starts_with("net.") {
            return Err(Error::invalid(format!(
                "sysctl {name} would change the node, whose network the pod shares"
            )));
        }
        let of_ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];
        if sharing.host_ipc && of_ipc.iter().any(|start| name.starts_with(start)) {
            return Err(Error::invalid(format!(
                "sysctl {name} would change the node, whose IPC namespace the pod shares"
            )));
        }
    }
    Ok(())
}

/// The kubelet names a path from the root of the hierarchy; a slice of systemd would mean that it
/// did not ask `RuntimeConfig`.
fn cgroup_parent(parent: &str) -> Result<String> {
    if parent.ends_with(".slice") && !parent.contains('/') {
        return Err(Error::invalid(format!(
            "cgroup_parent {parent:?} is a slice of systemd; this runtime uses the cgroupfs driver: \
             set cgroupDriver: cgroupfs for the kubelet"
        )));
    }
    let inside = parent.split('/').all(|part| part != ".." && part != ".");
    if !inside || parent.contains('\0') {
        return Err(Error::invalid(format!(
            "cgroup_parent {parent:?} is not a plain path"
        )));
    }
    Ok(parent.to_string())
}

fn dns(config: &DnsConfig) -> Result<Dns> {
    let dns = Dns {
        servers: config.servers.clone(),
        searches: config.searches.clone(),
        options: config.options.clone(),
    };
    check_dns(&dns)?;
    Ok(dns)
}

#[cfg(test)]
mod tests;
