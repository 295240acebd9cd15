//! Checks of limits and of what is told about usage.

use super::{Pod, exit, ok, sh};
use crate::Resources;

const MIB: i64 = 1 << 20;

fn memory(mib: i64) -> Resources {
    Resources {
        memory_bytes: Some(mib * MIB),
        ..Resources::default()
    }
}

pub(super) async fn a_container_that_takes_too_much_memory_is_killed_and_says_so(pod: Pod) {
    let mut spec = pod.container_spec("c", "exec tail -c 100m /dev/zero");
    spec.resources = memory(24);
    let container = pod.run_spec(spec).await;
    let ended = exit(&container).await;
    assert_eq!((ended.code, ended.oom_killed), (137, true), "{ended:?}");
}

pub(super) async fn limits_can_be_changed(pod: Pod) {
    let mut spec = pod.container_spec("c", "sleep 1000");
    spec.resources = Resources {
        cpu_shares: Some(1024),
        ..memory(48)
    };
    let container = pod.run_spec(spec).await;
    let read = "cd /sys/fs/cgroup; cat memory.max cpu.weight";
    assert_eq!(sh(&container, read).await.0, format!("{}\n100\n", 48 * MIB));
    ok(container.update(memory(64))).await;
    assert_eq!(sh(&container, read).await.0, format!("{}\n100\n", 64 * MIB));
}

pub(super) async fn stats_tell_what_is_used(pod: Pod) {
    let script = "dd if=/dev/urandom of=/data bs=1M count=4 2>/dev/null; sync; sleep 1000";
    let container = pod.run("c", script).await;
    let mut stats = ok(container.stats()).await;
    for _ in 0..100 {
        if stats.writable_bytes >= 4 << 20 && stats.pids > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        stats = ok(container.stats()).await;
    }
    assert!(
        stats.cpu_usage_ns > 0 && stats.memory_usage_bytes > 0,
        "{stats:?}"
    );
    assert!(
        (4 << 20..8 << 20).contains(&stats.writable_bytes),
        "{stats:?}"
    );
    let sandbox = ok(pod.sandbox.stats()).await;
    assert!(
        sandbox.cpu_usage_ns > 0 && sandbox.memory_usage_bytes > 0,
        "{sandbox:?}"
    );
    assert!(sandbox.pids > 0, "{sandbox:?}");
}
