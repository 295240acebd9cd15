//! What a machine is to be, before anything of it exists.

use std::path::{Path, PathBuf};

use vmm_api::{Accel, MachineKind, MachineSpec, MemorySharing, NetSpec, VsockSpec};

use super::config::{Config, HostVolumes, Machine};
use crate::cgroup::{Limits, Parent, PodCgroup};
use crate::leftovers::Leftover;
use crate::sizing::{KubeletLimits, Policy, Size, size};
use crate::{Error, Kind, Resources, Result, SandboxSpec};

const MIB: u64 = 1 << 20;

/// What every guest kernel is told.
const KERNEL_PARAMS: [&str; 7] = [
    "console=ttyS0",
    // Each byte there ends in the VMM, twice. What is no error comes by way of the agent.
    "quiet",
    // A guest that panics is over; it resets, and the VMM tells.
    "panic=-1",
    // There is one serial port, and looking for three more takes time.
    "8250.nr_uarts=1",
    // The clock and its interrupt are the host's and need no proof.
    "no_timer_check",
    "tsc=reliable",
    "cryptomgr.notests",
];

/// Order of the descriptors that travel with the request to boot.
pub(super) const KERNEL_FD: u32 = 0;
pub(super) const INITRAMFS_FD: u32 = 1;
pub(super) const CONSOLE_FD: u32 = 2;
pub(super) const VSOCK_FD: u32 = 3;
/// The first of the network interfaces'.
pub(super) const FIRST_INTERFACE_FD: u32 = 4;

/// Where a machine keeps what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// The VMM takes requests there.
    pub(super) control: PathBuf,
    /// Streams into the guest begin there.
    pub(super) vsock: PathBuf,
    /// What the guest's kernel prints.
    pub(super) console: PathBuf,
    /// The lock that the VMM holds for its life.
    pub(super) lock: PathBuf,
    /// The VMM's log lines.
    pub(super) log: PathBuf,
    /// Our records of containers.
    pub(super) containers: PathBuf,
    /// What the volumes that the guest shares with the node are mounted on, in their server's namespace.
    pub(super) share: PathBuf,
    /// Our record of them.
    pub(super) shares: PathBuf,
    /// The VMM finds their server there, for a moment.
    pub(super) fsd_socket: PathBuf,
    /// The lock that the server holds for its life.
    pub(super) fsd_lock: PathBuf,
    /// The server's log lines.
    pub(super) fsd_log: PathBuf,
}

impl Places {
    /// The places below the sandbox's own directory.
    pub(super) fn below(dir: &Path) -> Self {
        Self {
            control: dir.join("control.sock"),
            vsock: dir.join("vsock.sock"),
            console: dir.join("console"),
            lock: dir.join("vmm.lock"),
            log: dir.join("vmm.log"),
            containers: dir.join("containers"),
            share: dir.join("share"),
            shares: dir.join("shares.json"),
            fsd_socket: dir.join("fsd.sock"),
            fsd_lock: dir.join("fsd.lock"),
            fsd_log: dir.join("fsd.log"),
        }
    }

    fn all(&self) -> Vec<PathBuf> {
        let aside = |log: &Path| log.with_extension("log.1");
        let asides = [aside(&self.log), aside(&self.fsd_log)];
        let Self {
            control,
            vsock,
            console,
            lock,
            log,
            containers,
            share,
            shares,
            fsd_socket,
            fsd_lock,
            fsd_log,
        } = self.clone();
        let all = [
            control, vsock, console, log, containers, share, shares, fsd_socket, fsd_log, fsd_lock,
            lock,
        ];
        all.into_iter().chain(asides).collect()
    }
}

/// A machine of which nothing exists yet.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) spec: SandboxSpec,
    pub(super) cgroup: PodCgroup,
    pub(super) places: Places,
    pub(super) size: Size,
}

impl Planned {
    /// Plans a machine on a node with `host_cpus` CPUs, or says why there can't be one.
    pub(super) fn new(config: &Config, host_cpus: u32, spec: SandboxSpec) -> Result<Self> {
        refuse_what_needs_the_node(&spec)?;
        let cgroup = PodCgroup::of(&spec, &config.cgroup_parent)?;
        let kubelet = kubelet_limits(&cgroup);
        let size = size(&policy(config, host_cpus), &spec.resources, kubelet);
        check_room(config, &size, kubelet)?;
        Ok(Self {
            places: Places::below(&spec.state_dir),
            cgroup,
            size,
            spec,
        })
    }

    /// What is to be removed if we die from here on.
    pub(super) fn leftover(&self) -> Leftover {
        Leftover {
            cgroup: self.cgroup.path().to_owned(),
            parent: self.cgroup.parent(),
            lock: self.places.lock.clone(),
            files: self.places.all(),
        }
    }

    /// The limits of its cgroup.
    pub(super) fn limits(&self, config: &Config) -> Limits {
        limits(
            config,
            &self.cgroup,
            &self.size,
            &self.spec.resources,
            &self.spec.overhead,
        )
    }

    /// The machine, in the VMM's words.
    pub(super) fn machine(&self, config: &Config, interfaces: Vec<NetSpec>) -> MachineSpec {
        MachineSpec {
            kind: match config.machine {
                Machine::Builtin => MachineKind::Builtin,
                Machine::QemuKvm => MachineKind::Qemu { accel: Accel::Kvm },
                Machine::QemuTcg => MachineKind::Qemu { accel: Accel::Tcg },
            },
            vcpus: self.size.vcpus,
            memory_mib: self.size.memory_mib,
            memory_sharing: match config.host_volumes {
                HostVolumes::Shared => MemorySharing::Shared,
                HostVolumes::Refused => MemorySharing::Private,
            },
            kernel: KERNEL_FD,
            initramfs: INITRAMFS_FD,
            cmdline: cmdline(&config.kernel_params),
            console: CONSOLE_FD,
            console_limit_bytes: config.console_limit_kib << 10,
            vsock: VsockSpec { listener: VSOCK_FD },
            devices: Vec::new(),
            interfaces,
        }
    }
}

/// What the operator and the node have to say about sizes.
pub(super) fn policy(config: &Config, host_cpus: u32) -> Policy {
    Policy {
        default_container_memory_mib: config.default_container_memory_mib,
        system_memory_mib: config.system_memory_mib,
        minimum_memory_mib: config.minimum_memory_mib,
        host_cpus,
    }
}

/// The limits of a machine's cgroup. Its memory is bounded by the machine's, whoever made the parent;
/// CPU is the kubelet's to limit where it made the parent.
pub(super) fn limits(
    config: &Config,
    cgroup: &PodCgroup,
    size: &Size,
    resources: &Resources,
    overhead: &Resources,
) -> Limits {
    let limits = match cgroup.parent() {
        Parent::Ours => Limits::of_pod(resources, overhead),
        Parent::Kubelet => Limits::within_kubelets(resources, overhead),
    };
    Limits {
        memory_max: i64::try_from(needed_mib(config, size).saturating_mul(MIB)).ok(),
        ..limits
    }
}

fn needed_mib(config: &Config, size: &Size) -> u64 {
    size.memory_mib.saturating_add(config.vmm_memory_mib)
}

/// A machine has a kernel of its own, so it can't share what belongs to the node's.
fn refuse_what_needs_the_node(spec: &SandboxSpec) -> Result<()> {
    let wanted = match spec {
        SandboxSpec {
            network_namespace: None,
            ..
        } => "the node's network (hostNetwork)",
        SandboxSpec { host_ipc: true, .. } => "the node's IPC namespace (hostIPC)",
        _ => return Ok(()),
    };
    let doing = format!(
        "make a machine for a pod that shares {wanted}: a machine has its own kernel; \
         run the pod without a RuntimeClass"
    );
    Err(Error::new(Kind::Unsupported, doing))
}

fn kubelet_limits(cgroup: &PodCgroup) -> Option<KubeletLimits> {
    if cgroup.parent() != Parent::Kubelet {
        return None;
    }
    // Where the cgroup does not tell, the sum that we are told is all there is to go by.
    let memory = cgroup.read_parent("memory.max")?;
    let cpu = cgroup.read_parent("cpu.max")?;
    Some(KubeletLimits {
        memory_bytes: memory.parse().ok(),
        cpu_limited: !cpu.starts_with("max"),
    })
}

/// A machine that doesn't fit into the pod's cgroup would be killed once its guest uses its memory.
fn check_room(config: &Config, size: &Size, kubelet: Option<KubeletLimits>) -> Result<()> {
    let Some(limit) = kubelet.and_then(|kubelet| kubelet.memory_bytes) else {
        return Ok(());
    };
    let needed = needed_mib(config, size);
    if needed.saturating_mul(MIB) <= limit {
        return Ok(());
    }
    let doing = format!(
        "fit the machine into the pod's memory limit of {} MiB: it takes {needed} MiB = {} (machine: {}) \
         + {} (VMM); the RuntimeClass needs overhead.podFixed.memory of {}Mi",
        limit / MIB,
        size.memory_mib,
        size.memory_because,
        config.vmm_memory_mib,
        config.system_memory_mib + config.vmm_memory_mib,
    );
    Err(Error::new(Kind::NoSpace, doing))
}

fn cmdline(further: &[String]) -> String {
    KERNEL_PARAMS
        .into_iter()
        .chain(further.iter().map(String::as_str))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests;
