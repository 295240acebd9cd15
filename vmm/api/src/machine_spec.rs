//! The closed description of a machine, from which either kind of machine is built.
//!
//! Descriptors travel beside the message; each field of type [`FdIndex`] says which of them it means.

use serde::{Deserialize, Serialize};

/// Position of a descriptor in the message's descriptor list.
pub type FdIndex = u32;

/// A whole machine, as it is at boot. A kind that can't honour a field refuses it by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineSpec {
    /// Which implementation runs it.
    pub kind: MachineKind,
    /// Virtual CPUs, all present from the start; at least 1.
    pub vcpus: u32,
    /// Guest memory at boot, in MiB.
    pub memory_mib: u64,
    /// Who else may map the guest's memory.
    pub memory_sharing: MemorySharing,
    /// The guest kernel: an uncompressed ELF with a PVH note. Opened for this machine alone, since the
    /// position in the file is used.
    pub kernel: FdIndex,
    /// Initial RAM disk.
    pub initramfs: FdIndex,
    /// Kernel command line, whole; at most 2047 bytes.
    pub cmdline: String,
    /// Where the serial console's output goes: a file open for reading and writing, which is emptied. It is
    /// plain text and never longer than [`Self::console_limit_bytes`]; the oldest output goes first.
    pub console: FdIndex,
    /// Most bytes of console output that are kept.
    pub console_limit_bytes: u64,
    /// Host ↔ guest streams.
    pub vsock: VsockSpec,
    /// Devices present at boot, beside vsock, rng and serial, which every machine has.
    pub devices: Vec<DeviceSpec>,
    /// Network interfaces, in the order in which the guest finds them.
    #[serde(default)]
    pub interfaces: Vec<NetSpec>,
}

/// Who may map a guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemorySharing {
    /// The VMM alone. The host may back it with huge pages.
    Private,
    /// Also the processes behind devices such as [`DeviceSpec::Fs`], which work in it themselves.
    Shared,
}

/// Which implementation runs a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineKind {
    /// Our own, on KVM.
    Builtin,
    /// A QEMU child.
    Qemu {
        /// How QEMU runs the guest's instructions.
        accel: Accel,
    },
}

/// How QEMU runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accel {
    /// Hardware virtualisation.
    Kvm,
    /// Emulation.
    Tcg,
}

/// Streams between host and guest over virtio-vsock; the guest's CID is always 3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VsockSpec {
    /// A listening `SOCK_STREAM` unix socket. A host program connects, writes `CONNECT <port>\n`,
    /// reads `OK <port>\n`, and talks to the guest's listener on that port.
    pub listener: FdIndex,
}

/// A device of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceSpec {
    /// A virtio block device.
    Blk(BlkSpec),
    /// A virtio file system; a machine has one at most, and it stays.
    Fs(FsSpec),
}

/// A virtio file system whose files another process serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FsSpec {
    /// What the guest mounts it by: 1 to 36 bytes of UTF-8.
    pub tag: String,
    /// A connected `SOCK_STREAM` unix socket with a vhost-user back end at the other end. The machine needs
    /// [`MemorySharing::Shared`].
    pub socket: FdIndex,
}

/// A virtio block device whose content is the concatenation of its extents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlkSpec {
    /// The device's serial number as the guest reads it (`VIRTIO_BLK_T_GET_ID`): at most 20 ASCII bytes.
    pub serial: String,
    /// What the guest may do with it.
    pub access: BlkAccess,
    /// Pieces of host files, in order. A writable device has exactly one.
    pub extents: Vec<Extent>,
}

/// What a guest may do with a block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlkAccess {
    /// Writes are refused.
    ReadOnly,
    /// Reads, writes, discards. Flushes are honoured.
    ReadWrite,
}

/// A piece of a host file. Offsets and lengths are multiples of 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    /// The file.
    pub file: FdIndex,
    /// First byte of it.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
}

/// A virtio network interface before a TAP device of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetSpec {
    /// The TAP device, made with `IFF_TAP`, `IFF_NO_PI` and `IFF_VNET_HDR`: a descriptor for each queue
    /// pair, attached; with several, it was made with `IFF_MULTI_QUEUE`, too.
    pub queues: Vec<FdIndex>,
    /// A `/dev/vhost-net` for each queue pair, opened for this machine alone: the kernel moves frames. With
    /// none the VMM does.
    #[serde(default)]
    pub vhost: Vec<FdIndex>,
    /// The guest's Ethernet address.
    pub mac: [u8; 6],
    /// Longest packet, in bytes; 68 to 65535.
    pub mtu: u32,
}

/// Where an attached device sits: its slot on PCI bus 0, function 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeviceAddress {
    /// PCI slot, 1 to 31.
    pub slot: u8,
}

impl std::fmt::Display for DeviceAddress {
    /// As Linux names it in sysfs: `0000:00:04.0`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0000:00:{:02x}.0", self.slot)
    }
}
