//! What sandboxes and containers use.

use std::time::SystemTime;

/// What a container uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStats {
    /// When it was measured.
    pub at: SystemTime,
    /// CPU time since the start, in ns.
    pub cpu_usage_ns: u64,
    /// Memory charged, in bytes.
    pub memory_usage_bytes: u64,
    /// Memory less inactive file pages.
    pub memory_working_set_bytes: u64,
    /// Anonymous memory.
    pub memory_rss_bytes: u64,
    /// Page faults.
    pub page_faults: u64,
    /// Page faults that waited for a disk.
    pub major_page_faults: u64,
    /// Swap used.
    pub swap_usage_bytes: u64,
    /// Processes.
    pub pids: u64,
    /// Bytes on the host of what it has written to its root.
    pub writable_bytes: u64,
    /// Files of that, where countable.
    pub writable_inodes: u64,
}

/// What a sandbox uses as a whole, on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxStats {
    /// When it was measured.
    pub at: SystemTime,
    /// CPU time since the start, in ns.
    pub cpu_usage_ns: u64,
    /// Memory charged to the pod's cgroup, in bytes.
    pub memory_usage_bytes: u64,
    /// Memory less inactive file pages.
    pub memory_working_set_bytes: u64,
    /// Processes.
    pub pids: u64,
}
