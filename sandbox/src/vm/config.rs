//! What an operator may set for sandboxes made of a virtual machine.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{check_absolute, check_cgroup, check_positive};

/// What an operator may set for one handler that makes virtual machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The `bulkhead-vmm` program; each pod runs one.
    pub vmm: PathBuf,
    /// Which hypervisor it uses.
    pub machine: Machine,
    /// Whether containers can have files and directories of the node.
    pub host_volumes: HostVolumes,
    /// The `bulkhead-fsd` program, which serves them; each pod that has some runs one.
    pub fsd: PathBuf,
    /// Whether the node's kernel moves frames between a pod's network and its machine.
    pub vhost_net: VhostNet,
    /// The guest kernel: an uncompressed ELF (`vmlinux`) with a PVH note.
    pub kernel: PathBuf,
    /// The initial RAM disk, with the agent as `/init`.
    pub initramfs: PathBuf,
    /// Kernel parameters added to those that every machine gets.
    pub kernel_params: Vec<String>,
    /// Directory for records and locks of living machines; on tmpfs, so that a reboot of the node
    /// empties it. Handlers may share it, and must where they share users.
    pub runtime_dir: PathBuf,
    /// Directory for empty disks that are copied for each container; on a real file system.
    pub cache_dir: PathBuf,
    /// cgroup below which pods go for which the kubelet names none, relative to the root of the hierarchy.
    pub cgroup_parent: String,
    /// First of the user and group ids that VMM processes run as; nothing else on the node may use them.
    pub first_uid: u32,
    /// How many of them there are, which is how many machines can live at once.
    pub uid_count: u32,
    /// What a container without a memory limit counts in the size of its machine.
    pub default_container_memory_mib: u64,
    /// What the guest's kernel and agent get beside the containers.
    pub system_memory_mib: u64,
    /// The least memory that the kernel boots in.
    pub minimum_memory_mib: u64,
    /// What the VMM and the server of volumes may use on the node, beside the guest's memory.
    pub vmm_memory_mib: u64,
    /// Size of a container's writable layer where the container names none. The file behind it is sparse.
    pub writable_disk_mib: u64,
    /// The program that formats it (`mke2fs` of e2fsprogs).
    pub mke2fs: PathBuf,
    /// Most KiB of console output kept per machine.
    pub console_limit_kib: u64,
    /// Size of `/dev/shm`, which the containers of a pod share, in MiB.
    pub shm_mib: u64,
    /// A machine whose agent does not answer within so many seconds of its start is given up.
    pub boot_timeout_s: u64,
    /// A machine whose agent has not answered for so many seconds counts as hung and is killed; 0 means never.
    pub hang_timeout_s: u64,
}

/// Whether containers in machines can have files and directories of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostVolumes {
    /// Over virtio-fs. The machine's memory can then be mapped by a second process, and the node backs it
    /// with huge pages only where it does so for shared memory.
    Shared,
    /// No: only copies of what is small and read-only.
    Refused,
}

/// Whether the node's kernel moves frames between pods' networks and machines' memory (`/dev/vhost-net`), and
/// not the VMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VhostNet {
    /// Where the node has it.
    Auto,
    /// Never: the VMM does, in user space and behind its filters.
    Off,
    /// A node that does not have it runs no machines.
    Required,
}

/// Which hypervisor runs a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Machine {
    /// Our own, on KVM.
    Builtin,
    /// QEMU on KVM.
    QemuKvm,
    /// QEMU's emulation, which needs no hardware support.
    QemuTcg,
}

impl Config {
    /// All that is wrong with it, one sentence each.
    pub fn validate(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        for (key, path) in [
            ("vmm", &self.vmm),
            ("fsd", &self.fsd),
            ("kernel", &self.kernel),
            ("initramfs", &self.initramfs),
            ("runtime_dir", &self.runtime_dir),
            ("cache_dir", &self.cache_dir),
            ("mke2fs", &self.mke2fs),
        ] {
            check_absolute(&mut mistakes, key, path);
        }
        check_cgroup(&mut mistakes, &self.cgroup_parent);
        for (key, value) in [
            (
                "default_container_memory_mib",
                self.default_container_memory_mib,
            ),
            ("minimum_memory_mib", self.minimum_memory_mib),
            ("vmm_memory_mib", self.vmm_memory_mib),
            ("console_limit_kib", self.console_limit_kib),
            ("shm_mib", self.shm_mib),
            ("boot_timeout_s", self.boot_timeout_s),
        ] {
            check_positive(&mut mistakes, key, value);
        }
        self.check_disk(&mut mistakes);
        self.check_uids(&mut mistakes);
        self.check_kernel_params(&mut mistakes);
        mistakes
    }

    fn check_disk(&self, mistakes: &mut Vec<String>) {
        if self.writable_disk_mib < 16 {
            mistakes.push("writable_disk_mib must be at least 16".into());
        }
    }

    fn check_uids(&self, mistakes: &mut Vec<String>) {
        if self.first_uid < 1000 {
            mistakes.push(format!(
                "first_uid = {} is among the system's own users",
                self.first_uid
            ));
        }
        let end = self.first_uid.checked_add(self.uid_count);
        // The last id means "none" to the kernel.
        if self.uid_count == 0 || end.is_none_or(|end| end == u32::MAX) {
            mistakes.push("first_uid and uid_count are no range of users".into());
        }
    }

    fn check_kernel_params(&self, mistakes: &mut Vec<String>) {
        for param in &self.kernel_params {
            if param.is_empty() || !param.bytes().all(|byte| byte.is_ascii_graphic()) {
                mistakes.push(format!("kernel_params: {param:?} is not one parameter"));
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::vm) fn good() -> Config {
        Config {
            vmm: "/usr/libexec/bulkhead/bulkhead-vmm".into(),
            machine: Machine::Builtin,
            host_volumes: HostVolumes::Shared,
            fsd: "/usr/libexec/bulkhead/bulkhead-fsd".into(),
            vhost_net: VhostNet::Auto,
            kernel: "/usr/share/bulkhead/vmlinux".into(),
            initramfs: "/usr/share/bulkhead/initramfs".into(),
            kernel_params: vec![],
            runtime_dir: "/run/bulkhead/vm".into(),
            cache_dir: "/var/lib/bulkhead/vm".into(),
            cgroup_parent: "/bulkhead".into(),
            first_uid: 700_000,
            uid_count: 1000,
            default_container_memory_mib: 128,
            system_memory_mib: 128,
            minimum_memory_mib: 96,
            vmm_memory_mib: 64,
            writable_disk_mib: 10240,
            mke2fs: "/sbin/mke2fs".into(),
            console_limit_kib: 256,
            shm_mib: 64,
            boot_timeout_s: 60,
            hang_timeout_s: 120,
        }
    }

    #[test]
    fn a_good_config_has_no_mistakes() {
        assert_eq!(good().validate(), Vec::<String>::new());
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let bad = Config {
            kernel: "vmlinux".into(),
            first_uid: 0,
            uid_count: 0,
            kernel_params: vec!["quiet splash".into()],
            ..good()
        };
        assert_eq!(
            bad.validate(),
            [
                "kernel = \"vmlinux\" is not an absolute path",
                "first_uid = 0 is among the system's own users",
                "first_uid and uid_count are no range of users",
                "kernel_params: \"quiet splash\" is not one parameter",
            ]
        );
    }
}
