//! After pods come and go, and after the server is killed in the midst of it, nothing is left.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::runtime::{Runtime, container_config, pod_config};
use e2e::server;
use k8s_cri::v1::{
    ListPodSandboxRequest, RemovePodSandboxRequest, RunPodSandboxRequest, StopPodSandboxRequest,
};

const PATIENCE: Duration = Duration::from_secs(30);

under_every_handler!(
    nothing_is_left_of_pods_that_came_and_went,
    nothing_is_left_after_kills_at_any_time
);

/// Everything of the node that a pod could leave behind.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    processes: BTreeSet<String>,
    mounts: BTreeSet<String>,
    network_namespaces: BTreeSet<String>,
    cgroups: BTreeSet<String>,
    files: BTreeSet<String>,
    loops: BTreeSet<String>,
}

impl Traces {
    fn take() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        Ok(Self {
            processes: our_processes()?,
            mounts: mounts
                .lines()
                .filter_map(|line| line.split(' ').nth(4))
                .filter(|point| !point.contains("/images/"))
                .map(str::to_owned)
                .collect(),
            network_namespaces: names("/run/netns"),
            cgroups: below(Path::new("/sys/fs/cgroup"), &|path| path.is_dir()),
            files: ["/run/bulkhead", "/var/lib/bulkhead"]
                .iter()
                .flat_map(|root| below(Path::new(root), &|path| !is_bookkeeping(path)))
                .collect(),
            loops: names("/sys/block")
                .into_iter()
                .filter(|name| fs::exists(format!("/sys/block/{name}/loop")).unwrap_or(false))
                .collect(),
        })
    }
}

/// The database grows and shrinks as it likes, and pulled images stay.
fn is_bookkeeping(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.contains(".db") || text.contains("/images/") || text.contains("/templates/")
}

fn our_processes() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Ok(command) = fs::read(path.join("cmdline")) else {
            continue;
        };
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let ours = ["bulkhead-agent", "bulkhead-vmm", "bulkhead-fsd"];
        if ours.iter().any(|name| command.contains(name)) {
            found.insert(format!("{} {command}", path.display()));
        }
    }
    Ok(found)
}

fn names(directory: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn below(root: &Path, wanted: &dyn Fn(&Path) -> bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        if wanted(&path) {
            found.insert(path.display().to_string());
            if path.is_dir() && !path.is_symlink() {
                found.extend(below(&path, wanted));
            }
        }
    }
    found
}

/// Compares with `before`, giving slow endings a moment.
async fn check_nothing_new(before: &Traces) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let now = Traces::take()?;
        if now == *before || Instant::now() > deadline {
            assert_eq!(now.processes, before.processes, "processes");
            assert_eq!(now.mounts, before.mounts, "mounts");
            assert_eq!(
                now.network_namespaces, before.network_namespaces,
                "network namespaces"
            );
            assert_eq!(now.cgroups, before.cgroups, "cgroups");
            assert_eq!(now.files, before.files, "files");
            assert_eq!(now.loops, before.loops, "loop devices");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// How many pods come and go: `BULKHEAD_E2E_PODS`, or few enough for an emulated node. What each pod leaves
/// is seen after one.
fn rounds(handler: &str) -> usize {
    let asked = std::env::var("BULKHEAD_E2E_PODS")
        .ok()
        .and_then(|count| count.parse().ok());
    asked.unwrap_or(if handler == "kvm" { 2 } else { 10 })
}

async fn nothing_is_left_of_pods_that_came_and_went(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    come_and_go(&mut runtime, handler).await?;
    let before = Traces::take()?;
    for _ in 0..rounds(handler) {
        come_and_go(&mut runtime, handler).await?;
    }
    check_nothing_new(&before).await
}

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
    come_and_go(&mut runtime, handler).await?;
    let before = Traces::take()?;
    for after_ms in [5, 50, 150, 400, 1000, 3000] {
        let request = RunPodSandboxRequest {
            config: Some(pod_config("interrupted")),
            runtime_handler: handler.to_owned(),
        };
        let mut client = runtime.clone();
        let call = tokio::spawn(async move { client.runtime.run_pod_sandbox(request).await });
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        server::end("KILL").await?;
        let _ = call.await;
        server::start()?;
        runtime = Runtime::connect(PATIENCE).await.context("after a kill")?;
        remove_all(&mut runtime).await?;
    }
    check_nothing_new(&before).await
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
