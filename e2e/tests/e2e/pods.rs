//! The life of a pod, and what is refused.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::runtime::{Runtime, pod_config};
use k8s_cri::v1::ContainerEventType::{self, *};
use k8s_cri::v1::{
    GetEventsRequest, ListPodSandboxRequest, NamespaceMode, PodSandboxFilter, PodSandboxState,
    PodSandboxStatusRequest, RemovePodSandboxRequest, RunPodSandboxRequest, StatusRequest,
    StopPodSandboxRequest,
};
use tonic::Code;

const PATIENCE: Duration = Duration::from_secs(10);

under_every_handler!(
    a_pod_is_ready_then_stopped_then_gone,
    running_the_same_pod_twice_gives_the_same_pod,
    a_removed_pod_can_be_run_again_under_the_same_name,
    what_happens_to_a_pod_is_told_to_who_listens,
);

async fn a_pod_is_ready_then_stopped_then_gone(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut config = pod_config("life");
    config.labels.insert("colour".into(), "green".into());
    let pod = runtime.run_pod(handler, &config).await?;

    let status_request = PodSandboxStatusRequest {
        pod_sandbox_id: pod.id.clone(),
        verbose: true,
    };
    let response = runtime
        .runtime
        .pod_sandbox_status(status_request.clone())
        .await?
        .into_inner();
    let status = response.status.context("a status")?;
    assert_eq!(status.state(), PodSandboxState::SandboxReady);
    assert_eq!(status.metadata, config.metadata);
    assert_eq!(status.labels, config.labels);
    assert_eq!(status.runtime_handler, handler);
    assert!(status.created_at > 0);

    let filter = PodSandboxFilter {
        id: pod.id.clone(),
        ..Default::default()
    };
    let list = ListPodSandboxRequest {
        filter: Some(filter),
    };
    assert_eq!(
        runtime
            .runtime
            .list_pod_sandbox(list.clone())
            .await?
            .into_inner()
            .items
            .len(),
        1
    );

    let stop = StopPodSandboxRequest {
        pod_sandbox_id: pod.id.clone(),
    };
    runtime.runtime.stop_pod_sandbox(stop.clone()).await?;
    runtime
        .runtime
        .stop_pod_sandbox(stop)
        .await
        .context("stop twice")?;
    let response = runtime
        .runtime
        .pod_sandbox_status(status_request.clone())
        .await?
        .into_inner();
    assert_eq!(
        response.status.context("a status")?.state(),
        PodSandboxState::SandboxNotready
    );

    let remove = RemovePodSandboxRequest {
        pod_sandbox_id: pod.id.clone(),
    };
    runtime.runtime.remove_pod_sandbox(remove.clone()).await?;
    runtime
        .runtime
        .remove_pod_sandbox(remove)
        .await
        .context("remove twice")?;
    assert!(
        runtime
            .runtime
            .list_pod_sandbox(list)
            .await?
            .into_inner()
            .items
            .is_empty()
    );
    let gone = runtime.runtime.pod_sandbox_status(status_request).await;
    assert_eq!(gone.map(drop).map_err(|s| s.code()), Err(Code::NotFound));
    Ok(())
}

async fn running_the_same_pod_twice_gives_the_same_pod(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let config = pod_config("twice");
    let (mut first, mut second) = (runtime.clone(), runtime.clone());
    let (first, second) = tokio::join!(
        first.run_pod(handler, &config),
        second.run_pod(handler, &config)
    );
    let (first, second) = (first?, second?);
    assert_eq!(first.id, second.id, "two calls at once");
    let third = runtime.run_pod(handler, &config).await?;
    assert_eq!(first.id, third.id, "a call after the first has ended");
    first.finish().await
}

async fn a_removed_pod_can_be_run_again_under_the_same_name(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let config = pod_config("again");
    let first = runtime.run_pod(handler, &config).await?;
    let id = first.id.clone();
    first.finish().await?;
    let second = runtime.run_pod(handler, &config).await?;
    assert_ne!(id, second.id);
    second.finish().await
}

#[tokio::test]
async fn an_unknown_handler_is_refused_by_name() -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let request = RunPodSandboxRequest {
        config: Some(pod_config("nope")),
        runtime_handler: "no-such-handler".into(),
    };
    let status = runtime
        .runtime
        .run_pod_sandbox(request)
        .await
        .expect_err("refused");
    assert!(status.message().contains("no-such-handler"), "{status:?}");
    Ok(())
}

#[tokio::test]
async fn a_machine_cannot_share_the_network_of_the_node() -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut config = pod_config("hostnet");
    let linux = config.linux.as_mut().context("linux")?;
    let security = linux
        .security_context
        .as_mut()
        .context("security context")?;
    security
        .namespace_options
        .as_mut()
        .context("namespaces")?
        .network = NamespaceMode::Node.into();
    let request = RunPodSandboxRequest {
        config: Some(config),
        runtime_handler: "kvm".into(),
    };
    let status = runtime
        .runtime
        .run_pod_sandbox(request)
        .await
        .expect_err("refused");
    for words in ["a kernel of its own", "hostNetwork", "namespaced"] {
        assert!(status.message().contains(words), "{words} in {status:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_status_lists_every_handler_and_says_ready() -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let response = runtime
        .runtime
        .status(StatusRequest { verbose: true })
        .await?
        .into_inner();
    let handlers: Vec<_> = response
        .runtime_handlers
        .iter()
        .map(|h| h.name.as_str())
        .collect();
    for wanted in ["", "namespaced", "kvm"] {
        assert!(handlers.contains(&wanted), "{wanted:?} among {handlers:?}");
    }
    let conditions = response.status.context("a status")?.conditions;
    assert!(
        conditions.len() >= 2 && conditions.iter().all(|c| c.status),
        "{conditions:?}"
    );
    Ok(())
}

async fn what_happens_to_a_pod_is_told_to_who_listens(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let events = runtime.runtime.get_container_events(GetEventsRequest {});
    let mut events = events.await?.into_inner();
    let pod = runtime.run_pod(handler, &pod_config("told")).await?;
    let id = pod.id.clone();
    pod.finish().await?;
    let mut heard: Vec<ContainerEventType> = Vec::new();
    while heard.last() != Some(&ContainerDeletedEvent) {
        let event = tokio::time::timeout(PATIENCE, events.message()).await??;
        let event = event.context("the server tells on")?;
        // Others may come and go meanwhile.
        if event.container_id == id {
            let status = event.pod_sandbox_status.as_ref();
            assert_eq!(status.map(|status| &status.id), Some(&id));
            heard.push(event.container_event_type());
        }
    }
    let life = [
        ContainerCreatedEvent,
        ContainerStartedEvent,
        ContainerStoppedEvent,
        ContainerDeletedEvent,
    ];
    assert_eq!(heard, life);
    Ok(())
}
