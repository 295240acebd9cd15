//! After pods come and go, and after the server is killed in the midst of it, nothing is left.

mod traces;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::runtime::{Runtime, container_config, pod_config};
use e2e::{images, server};
use k8s_cri::v1::{ListPodSandboxRequest, RemovePodSandboxRequest, StopPodSandboxRequest};
use traces::Traces;

const PATIENCE: Duration = Duration::from_secs(30);

under_every_handler!(
    nothing_is_left_of_pods_that_came_and_went,
    nothing_is_left_after_kills_at_any_time
);

/// How many pods come and go, if `BULKHEAD_E2E_PODS` says so.
fn pods_asked_for() -> Option<u32> {
    std::env::var("BULKHEAD_E2E_PODS").ok()?.parse().ok()
}

/// Few enough for an emulated node otherwise. What each pod leaves is seen after one.
fn pods(handler: &str) -> u32 {
    let few = if handler == "kvm" { 2 } else { 10 };
    pods_asked_for().unwrap_or(few)
}

/// How often the server is killed: with a quarter of the pods, or at so many points of a pod's life.
fn kills(handler: &str) -> u32 {
    let few = if handler == "kvm" { 3 } else { 6 };
    pods_asked_for().map_or(few, |pods| pods.div_ceil(4))
}

async fn nothing_is_left_of_pods_that_came_and_went(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    come_and_go(&mut runtime, handler).await?;
    let before = Traces::take()?;
    let pods = pods(handler);
    for _ in 0..pods {
        come_and_go(&mut runtime, handler).await?;
    }
    before.are_all(&format!("of {pods} pods")).await
}

/// The whole life of a pod: a container that ends by itself, and one that has to be killed.
async fn come_and_go(runtime: &mut Runtime, handler: &str) -> Result<()> {
    let mut pod = runtime.run_pod(handler, &pod_config("brief")).await?;
    let mut container = pod
        .start(&container_config("c", &["sh", "-c", "echo hello"]))
        .await?;
    container.exited().await?;
    pod.start(&container_config("d", &["sleep", "1000"]))
        .await?;
    pod.finish().await
}

async fn nothing_is_left_after_kills_at_any_time(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    // With those that tests share, which would not be there afterwards.
    remove_all(&mut runtime).await?;
    runtime.pull(images::BUSYBOX).await?;
    let begin = Instant::now();
    come_and_go(&mut runtime, handler).await?;
    let life = begin.elapsed();
    let before = Traces::take()?;
    let kills = kills(handler);
    for number in 0..kills {
        let age = life * (2 * number + 1) / (2 * kills);
        kill_at(age, runtime, handler).await?;
        runtime = Runtime::connect(PATIENCE).await.context("after a kill")?;
        remove_all(&mut runtime).await?;
        let when =
            format!("by a kill {age:?} after a pod's beginning; a whole life takes {life:?}");
        before.are_all(&when).await?;
    }
    Ok(())
}

/// Kills the server when a pod is as old as `age`, and starts it again.
async fn kill_at(age: Duration, mut runtime: Runtime, handler: &str) -> Result<()> {
    let handler = handler.to_owned();
    let pod = tokio::spawn(async move { come_and_go(&mut runtime, &handler).await });
    tokio::time::sleep(age).await;
    server::end("KILL").await?;
    // It has failed with the server, unless it was faster than the one before.
    let _ = pod.await;
    server::start()
}

async fn remove_all(runtime: &mut Runtime) -> Result<()> {
    let list = runtime
        .runtime
        .list_pod_sandbox(ListPodSandboxRequest::default())
        .await?;
    for pod in list.into_inner().items {
        let stop = StopPodSandboxRequest {
            pod_sandbox_id: pod.id.clone(),
        };
        runtime.runtime.stop_pod_sandbox(stop).await?;
        let remove = RemovePodSandboxRequest {
            pod_sandbox_id: pod.id,
        };
        runtime.runtime.remove_pod_sandbox(remove).await?;
    }
    Ok(())
}
