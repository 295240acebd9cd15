//! What a container uses, as its cgroup and its writable layer say.

use agent_api::v1;

use crate::container::Container;
use crate::container::cgroup::{Cgroup, keyed};
use crate::events::now_ns;

mod disk;

pub(crate) use disk::DiskCount;

/// What `container` uses now.
pub(crate) async fn of(container: &Container) -> v1::ContainerStats {
    let disk = disk::usage(container).await;
    let mut stats = of_cgroup(&container.cgroup);
    stats.container_id.clone_from(&container.id);
    stats.timestamp_ns = now_ns();
    stats.disk_usage_bytes = disk.bytes;
    stats.disk_inodes = disk.inodes;
    stats
}

/// Numbers that the kernel does not keep are 0.
fn of_cgroup(cgroup: &Cgroup) -> v1::ContainerStats {
    let memory = cgroup.read("memory.stat").unwrap_or_default();
    let of_memory = |name| keyed(&memory, name).unwrap_or(0);
    let single = |file| {
        cgroup
            .read(file)
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
    };
    let usage: u64 = single("memory.current");
    v1::ContainerStats {
        cpu_usage_ns: cgroup
            .counter("cpu.stat", "usage_usec")
            .unwrap_or(0)
            .saturating_mul(1000),
        memory_usage_bytes: usage,
        memory_working_set_bytes: usage.saturating_sub(of_memory("inactive_file")),
        memory_rss_bytes: of_memory("anon"),
        page_faults: of_memory("pgfault"),
        major_page_faults: of_memory("pgmajfault"),
        swap_usage_bytes: single("memory.swap.current"),
        pids: single("pids.current"),
        ..v1::ContainerStats::default()
    }
}
