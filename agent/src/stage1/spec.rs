//! What the agent tells stage-1 to do, and what stage-1 tells the agent: protobuf, never on a disk.

use agent_api::v1;

/// The one thing that a stage-1 process is there for.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Spec {
    #[prost(oneof = "Job", tags = "1, 2, 3, 4")]
    pub(crate) job: Option<Job>,
}

/// Kinds of stage-1 processes.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Job {
    /// Make the namespaces that a pod's containers share, hand them over, end.
    #[prost(message, tag = "1")]
    Pod(PodJob),
    /// Become PID 1 of the pod's PID namespace.
    #[prost(message, tag = "2")]
    PidOne(PidOneJob),
    /// Become the first process of a container.
    #[prost(message, tag = "3")]
    Init(Box<InitJob>),
    /// Become a further process of a container.
    #[prost(message, tag = "4")]
    Exec(Box<ExecJob>),
}

/// See [`Job::Pod`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PodJob {
    #[prost(string, tag = "1")]
    pub(crate) hostname: String,
    /// Kernel parameters, by path below /proc/sys.
    #[prost(btree_map = "string, string", tag = "2")]
    pub(crate) sysctls: std::collections::BTreeMap<String, String>,
    #[prost(uint64, tag = "3")]
    pub(crate) shm_bytes: u64,
    #[prost(bool, tag = "4")]
    pub(crate) host_ipc: bool,
    #[prost(bool, tag = "5")]
    pub(crate) host_uts: bool,
}

/// See [`Job::PidOne`].
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct PidOneJob {}

/// See [`Job::Init`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct InitJob {
    /// What was asked for, with the root file system given as an overlay and disks as binds.
    #[prost(message, optional, tag = "1")]
    pub(crate) container: Option<v1::CreateContainerRequest>,
    /// Device nodes to make, beside the standard ones.
    #[prost(message, repeated, tag = "2")]
    pub(crate) nodes: Vec<Node>,
    /// It becomes PID 1 of a PID namespace of its own.
    #[prost(bool, tag = "3")]
    pub(crate) new_pid_namespace: bool,
    /// /dev/shm is the host's.
    #[prost(bool, tag = "4")]
    pub(crate) host_ipc: bool,
}

/// See [`Job::Exec`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ExecJob {
    #[prost(message, optional, tag = "1")]
    pub(crate) process: Option<v1::Process>,
    /// Who it runs as; absent means that `process.user` is looked up in the container.
    #[prost(message, optional, tag = "2")]
    pub(crate) identity: Option<Identity>,
}

/// A device node.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Node {
    /// Absolute path in the container.
    #[prost(string, tag = "1")]
    pub(crate) path: String,
    #[prost(bool, tag = "2")]
    pub(crate) block: bool,
    #[prost(uint32, tag = "3")]
    pub(crate) major: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) minor: u32,
    /// Permission bits.
    #[prost(uint32, tag = "5")]
    pub(crate) mode: u32,
    #[prost(uint32, tag = "6")]
    pub(crate) uid: u32,
    #[prost(uint32, tag = "7")]
    pub(crate) gid: u32,
}

/// Who a process runs as, once names were looked up.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Identity {
    #[prost(uint32, tag = "1")]
    pub(crate) uid: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) gid: u32,
    #[prost(uint32, repeated, tag = "3")]
    pub(crate) groups: Vec<u32>,
    /// Home directory, for `HOME`.
    #[prost(string, tag = "4")]
    pub(crate) home: String,
}

/// A message of stage-1 to the agent.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Report {
    #[prost(oneof = "Told", tags = "1, 2, 3, 4")]
    pub(crate) told: Option<Told>,
    /// What the descriptors beside the message are, in their order.
    #[prost(enumeration = "Role", repeated, tag = "15")]
    pub(crate) roles: Vec<i32>,
}

/// What stage-1 has to tell.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Told {
    /// The process that will be the job's is there; its number in the agent's PID namespace.
    #[prost(uint32, tag = "1")]
    Spawned(u32),
    /// The namespaces are made.
    #[prost(message, tag = "2")]
    Made(Empty),
    /// The process has come as far as its last instruction before execve.
    #[prost(message, tag = "3")]
    Ready(Identity),
    /// It did not work; the process ends.
    #[prost(message, tag = "4")]
    Failed(Failed),
}

/// Nothing.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Empty {}

/// Why a job failed.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Failed {
    /// A gRPC code.
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    /// The chain of causes on one line.
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

/// What goes to stage-1 first; the [`Spec`] itself is in a memory file, as it may be large.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Handover {
    #[prost(enumeration = "Role", repeated, tag = "1")]
    pub(crate) roles: Vec<i32>,
}

/// What a descriptor that travels beside a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Role {
    /// Memory file with the [`Spec`].
    Spec = 0,
    Stdin = 1,
    Stdout = 2,
    Stderr = 3,
    NetworkNamespace = 4,
    IpcNamespace = 5,
    UtsNamespace = 6,
    /// Mount namespace whose root is the pod's /dev/shm.
    ShmNamespace = 7,
    /// pidfd of a process whose PID namespace is to be joined.
    PidNamespaceOf = 8,
    /// pidfd of a container's first process: all its namespaces are to be joined.
    Container = 9,
    /// Directory of the cgroup in which the process is to begin.
    Cgroup = 10,
    /// Root directory of the container's devpts.
    Devpts = 11,
    /// Master side of a terminal.
    Terminal = 12,
    /// pidfd of the process that was spawned.
    Process = 13,
}
