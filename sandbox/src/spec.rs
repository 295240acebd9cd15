//! What a sandbox and a container are to be.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Names a sandbox; 64 hexadecimal digits where we made it. Never used twice.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SandboxId(pub String);

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a container; 64 hexadecimal digits where we made it. Never used twice.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerId(pub String);

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A sandbox to be.
#[derive(Clone, Debug)]
pub struct SandboxSpec {
    /// Its id.
    pub id: SandboxId,
    /// Pod name, namespace and uid, for log lines and process titles only.
    pub pod: PodName,
    /// Host name inside; empty means the node's.
    pub hostname: String,
    /// Path of the pod's network namespace; `None` means the node's own.
    pub network_namespace: Option<PathBuf>,
    /// IPC namespace of the node rather than of the pod.
    pub host_ipc: bool,
    /// Containers of the pod share one PID namespace unless they say otherwise.
    pub shared_pid: bool,
    /// Kernel parameters by dotted name.
    pub sysctls: BTreeMap<String, String>,
    /// Pod cgroup that the kubelet made, relative to the root of the hierarchy (`/kubepods/pod…`);
    /// empty means one of ours.
    pub cgroup_parent: String,
    /// Sum of what its containers ask for and are limited to.
    pub resources: Resources,
    /// What the pod costs beside its containers (RuntimeClass `podFixed`).
    pub overhead: Resources,
    /// Containers of it may be privileged.
    pub privileged: bool,
    /// Directory for what it keeps for its life; on tmpfs. It exists and is the sandbox's own.
    pub state_dir: PathBuf,
}

/// Who a pod is, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodName {
    /// Pod name.
    pub name: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Kubernetes uid.
    pub uid: String,
}

/// A container to be.
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    /// Its id.
    pub id: ContainerId,
    /// Its files.
    pub rootfs: Rootfs,
    /// Nothing may be written to its root.
    pub readonly_rootfs: bool,
    /// What is mounted into it, in order.
    pub mounts: Vec<Mount>,
    /// Files written into its root before it starts, such as `/etc/resolv.conf`.
    pub files: Vec<FileContent>,
    /// Device nodes it may use beside the standard ones.
    pub devices: Vec<Device>,
    /// Its first process.
    pub process: ProcessSpec,
    /// What it shares with the pod or the node.
    pub namespaces: Namespaces,
    /// Its limits.
    pub resources: Resources,
    /// Paths made unreadable.
    pub masked_paths: Vec<String>,
    /// Paths made read-only.
    pub readonly_paths: Vec<String>,
    /// All devices, a writable `/sys` and cgroup tree, no masked paths.
    pub privileged: bool,
    /// Where its output goes, as CRI log lines; `None` means nowhere.
    pub log_path: Option<PathBuf>,
    /// stdin stays open for [`crate::Container::attach`]; otherwise it is `/dev/null`.
    pub stdin: bool,
    /// stdin ends with that of the first who attaches.
    pub stdin_once: bool,
}

/// In which form a kind of sandbox wants the read-only files of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageForm {
    /// A directory, mounted on the host.
    Mounted,
    /// Pieces of files that make up one EROFS file system when read one after the other.
    Extents,
}

/// A container's files: read-only ones from an image, and a place for what it writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rootfs {
    /// The read-only part, in the form that [`crate::Features::image_form`] asked for.
    pub image: ImageFiles,
    /// An empty directory on a real file system, the container's own. What the container writes is
    /// kept below it; removing it is the caller's.
    pub writable_dir: PathBuf,
    /// Most bytes the container may write; `None` means the kind's default.
    pub writable_limit_bytes: Option<u64>,
}

/// The read-only files of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageFiles {
    /// Mounted at this directory for as long as the container exists.
    Mounted(PathBuf),
    /// One EROFS image, in pieces.
    Extents {
        /// Stable name of the content: equal names hold equal bytes, so a sandbox may share it.
        key: String,
        /// The pieces, in order.
        extents: Vec<Extent>,
    },
}

/// A piece of a host file, in multiples of 4096 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The file; it does not change while the extent is in use.
    pub path: PathBuf,
    /// First byte.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
}

/// Something mounted into a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path in the container.
    pub destination: String,
    /// What is mounted.
    pub source: MountSource,
    /// Nothing may be written through it.
    pub readonly: bool,
    /// Nor through what is mounted below it.
    pub recursive_readonly: bool,
    /// Whether mounts made later cross over.
    pub propagation: Propagation,
}

/// What a [`Mount`] mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// A file or directory of the node.
    Host(PathBuf),
    /// The files of another image, optionally from a path inside it.
    Image {
        /// In the form that the kind asked for.
        files: ImageFiles,
        /// Relative path inside the image; empty means all of it.
        sub_path: String,
    },
}

/// Whether mounts made later on one side appear on the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// Neither way.
    #[default]
    Private,
    /// Those of the node appear in the container.
    HostToContainer,
    /// Both ways.
    Bidirectional,
}

/// A small file with content of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileContent {
    /// Absolute path in the container; its directories are made if missing.
    pub path: String,
    /// What is in it.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

/// A device node of the node, made available in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Absolute path in the container.
    pub path: String,
    /// The node's device.
    pub host_path: PathBuf,
    /// Letters of `rwm`.
    pub access: String,
}

/// A process to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessSpec {
    /// Program and arguments; not empty.
    pub args: Vec<String>,
    /// `NAME=value`; values need not be UTF-8.
    pub env: Vec<Vec<u8>>,
    /// Working directory; made if missing.
    pub cwd: String,
    /// Who it runs as.
    pub user: User,
    /// Capability sets; bit n is capability n.
    pub capabilities: Capabilities,
    /// Programs with setuid bits give nothing.
    pub no_new_privileges: bool,
    /// A ready seccomp program (`struct sock_filter[]`); `None` means no filter.
    pub seccomp: Option<Vec<u8>>,
    /// AppArmor profile by name.
    pub apparmor_profile: Option<String>,
    /// SELinux process label.
    pub selinux_label: Option<String>,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// It gets a terminal.
    pub terminal: bool,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
}

/// Who a process runs as. Names are looked up in the image's `/etc/passwd` and `/etc/group`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// User; `None` means root.
    pub user: Option<Principal>,
    /// Group; `None` means the user's own.
    pub group: Option<Principal>,
    /// Further groups.
    pub supplemental_groups: Vec<u32>,
    /// Leave out the groups that the image gives the user.
    pub strict_groups: bool,
}

/// A user or group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// By number.
    Id(u32),
    /// By name.
    Name(String),
}

/// Capability sets of capabilities(7); bit n is capability n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Limits what any program can gain.
    pub bounding: u64,
    /// Effective and permitted sets.
    pub permitted: u64,
    /// Kept through execve by programs with file capabilities.
    pub inheritable: u64,
    /// Kept through execve by all programs.
    pub ambient: u64,
}

/// A resource limit of getrlimit(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// `RLIMIT_NOFILE` and the like.
    pub kind: String,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// What a container shares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Whose processes it sees.
    pub pid: PidMode,
}

/// Whose processes a container sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PidMode {
    /// Its own.
    #[default]
    Container,
    /// The pod's.
    Pod,
    /// The node's.
    Node,
    /// Those of another container.
    Target(ContainerId),
}

/// Limits; `None` means not set, or on update not changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// CPU shares (2 to 262144), which is how CRI states requests.
    pub cpu_shares: Option<u64>,
    /// CPU time per period in µs; 0 or less means unlimited.
    pub cpu_quota_us: Option<i64>,
    /// Period in µs.
    pub cpu_period_us: Option<u64>,
    /// Memory in bytes; 0 or less means unlimited.
    pub memory_bytes: Option<i64>,
    /// Memory and swap together in bytes; less than 0 means unlimited.
    pub memory_swap_bytes: Option<i64>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// CPUs it may run on (`0-3,7`).
    pub cpuset_cpus: String,
    /// Memory nodes it may use.
    pub cpuset_mems: String,
    /// Huge pages: size (`2MB`) to bytes.
    pub hugepages: BTreeMap<String, u64>,
    /// Any cgroup v2 file and its content, applied last and verbatim.
    pub unified: BTreeMap<String, String>,
}

/// A signal by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(pub u32);

impl Signal {
    /// Ends everything at once.
    pub const KILL: Self = Self(9);
    /// Asks to end.
    pub const TERM: Self = Self(15);
}
