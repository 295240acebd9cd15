//! What is special to pods that are machines.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::runtime::{Runtime, container_config, pod_config};
use k8s_cri::v1::{PodSandboxState, PodSandboxStatusRequest};

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn each_handler_shows_its_own_kernel() -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let node = std::fs::read_to_string("/proc/sys/kernel/version")?;
    for (handler, same) in [("namespaced", true), ("kvm", false)] {
        let mut pod = runtime.run_pod(handler, &pod_config("kernel")).await?;
        let mut container = pod
            .start(&container_config("c", &["sleep", "1000"]))
            .await?;
        let boot_id = container
            .output(&["cat", "/proc/sys/kernel/random/boot_id"])
            .await?;
        let of_node = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        assert_eq!(boot_id == of_node, same, "{handler} on {node}");
        pod.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_guest_that_panics_costs_its_own_pod_only() -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut other = runtime.run_pod("kvm", &pod_config("bystander")).await?;
    let mut bystander = other
        .start(&container_config("c", &["sleep", "1000"]))
        .await?;

    let mut config = pod_config("panics");
    let linux = config.linux.as_mut().context("linux")?;
    linux
        .security_context
        .as_mut()
        .context("context")?
        .privileged = true;
    let mut pod = runtime.run_pod("kvm", &config).await?;
    let crash = "sleep 1; echo c > /proc/sysrq-trigger; sleep 1000";
    let mut config = container_config("c", &["sh", "-c", crash]);
    let linux = config.linux.as_mut().context("linux")?;
    linux
        .security_context
        .as_mut()
        .context("context")?
        .privileged = true;
    let mut container = pod.start(&config).await?;
    let status = container.exited().await?;
    assert_ne!(status.exit_code, 0);
    assert!(!status.message.is_empty(), "it says why: {status:?}");

    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let request = PodSandboxStatusRequest {
            pod_sandbox_id: pod.id.clone(),
            verbose: false,
        };
        let status = runtime
            .runtime
            .pod_sandbox_status(request)
            .await?
            .into_inner()
            .status;
        if status.context("a status")?.state() == PodSandboxState::SandboxNotready {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "the pod of a dead machine is not ready"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(bystander.output(&["echo", "alive"]).await?, "alive\n");
    pod.finish().await?;
    other.finish().await
}

#[tokio::test]
async fn an_operator_sees_the_size_of_a_machine_and_its_boot_messages() -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let pod = runtime.run_pod("kvm", &pod_config("size")).await?;
    let request = PodSandboxStatusRequest {
        pod_sandbox_id: pod.id.clone(),
        verbose: true,
    };
    let info = runtime
        .runtime
        .pod_sandbox_status(request)
        .await?
        .into_inner()
        .info;
    let text = format!("{info:?}");
    assert!(text.contains("256 MiB = 128 ("), "{text}");
    shows_boot_messages(&pod.id).await?;
    pod.finish().await
}

/// Its kernel's first and later words, in their order. The agent passes them on, which takes a moment.
async fn shows_boot_messages(pod: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = std::process::Command::new("/usr/local/bin/bulkhead")
            .args(["console", pod])
            .output()?;
        let text = String::from_utf8_lossy(&shown.stdout);
        let (first, later) = (
            text.find("Linux version "),
            text.find("Run /init as init process"),
        );
        if first.is_some() && first < later {
            return Ok(());
        }
        assert!(Instant::now() < deadline, "{shown:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
