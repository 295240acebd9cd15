//! Limits, what happens at them, and what is used.

use std::fs;

use agent_api::v1;

use crate::fixture::{Pod, wait_for};

fn memory(bytes: i64) -> v1::Resources {
    v1::Resources {
        memory_bytes: Some(bytes),
        swap_bytes: Some(0),
        ..v1::Resources::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_set_and_changed() {
    let pod = Pod::new().await;
    let mut request = pod.shell("c1", "sleep 60");
    request.resources = Some(v1::Resources {
        cpu_weight: Some(39),
        cpu_quota_us: Some(20_000),
        cpu_period_us: Some(100_000),
        pids_max: Some(50),
        unified: [("memory.oom.group".to_owned(), "1".to_owned())].into(),
        ..memory(64 << 20)
    });
    pod.start(request).await;
    let read = |file: &str| fs::read_to_string(pod.cgroup("c1").join(file)).unwrap();
    assert_eq!(read("cpu.weight"), "39\n");
    assert_eq!(read("cpu.max"), "20000 100000\n");
    assert_eq!(read("memory.max"), "67108864\n");
    assert_eq!(read("pids.max"), "50\n");
    assert_eq!(read("memory.oom.group"), "1\n");
    let resources = v1::Resources {
        cpu_quota_us: Some(50_000),
        ..memory(128 << 20)
    };
    let request = v1::UpdateContainerRequest {
        container_id: "c1".into(),
        resources: Some(resources),
    };
    pod.client.update_container(request).await.unwrap();
    assert_eq!(read("cpu.max"), "50000 100000\n");
    assert_eq!(read("memory.max"), "134217728\n");
    assert_eq!(read("cpu.weight"), "39\n");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_memory_is_told_even_if_a_child_was_killed() {
    let pod = Pod::new().await;
    let mut request = pod.shell(
        "c1",
        "dd if=/dev/zero of=/dev/null bs=20M count=1; exit 137",
    );
    request.resources = Some(memory(15 << 20));
    let (log, exit) = pod.run(request).await;
    assert!(exit.oom_killed, "{log}");
    assert_eq!(exit.code, 137);
    let mut events = pod.client.events(0).await.unwrap();
    let first = events.message().await.unwrap().unwrap();
    assert!(
        matches!(first.event, Some(v1::event::Event::Oom(_))),
        "{first:?}"
    );
    let mut request = pod.shell("c2", "kill -9 $$");
    request.resources = Some(memory(15 << 20));
    let (_, exit) = pod.run(request).await;
    assert!(!exit.oom_killed);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_used_is_told() {
    let pod = Pod::new().await;
    let script = "dd if=/dev/zero of=/file bs=1M count=3 2>/dev/null; \
                  i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; sleep 60";
    pod.start(pod.shell("c1", script)).await;
    wait_for("it has worked", || pod.log("c1").contains("done"));
    let all = pod.client.container_stats(Some("c1")).await.unwrap();
    let [stats] = &all[..] else { panic!("{all:?}") };
    assert!(stats.timestamp_ns > 0);
    assert!(stats.cpu_usage_ns > 1_000_000, "{stats:?}");
    assert!(stats.memory_usage_bytes > 100_000, "{stats:?}");
    assert!(stats.memory_working_set_bytes <= stats.memory_usage_bytes);
    assert!(stats.pids >= 1);
    assert!(stats.disk_usage_bytes >= 3 << 20, "{stats:?}");
    assert!(stats.disk_inodes >= 1);
    assert!(
        pod.client
            .container_stats(Some("nosuch"))
            .await
            .unwrap()
            .is_empty()
    );
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_too_low_to_start_in_is_said_to_be() {
    let pod = Pod::new().await;
    let mut request = pod.shell("c1", "sleep 60");
    request.resources = Some(memory(4096));
    let error = pod.client.create_container(request).await.unwrap_err();
    let words = error.words().unwrap();
    assert!(words.contains("memory limit may be too low"), "{words}");
    pod.finish().await;
}
