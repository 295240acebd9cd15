//! `PodSandboxStatus`: all that is known of a pod; with `verbose` also how its size came about.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cri_api::v1::{
    LinuxPodSandboxStatus, Namespace, NamespaceMode, NamespaceOption, PodIp,
    PodSandboxNetworkStatus, PodSandboxStatus, PodSandboxStatusRequest, PodSandboxStatusResponse,
};
use serde_json::json;

use crate::CriServer;
use crate::clock::now_ns;
use crate::error::Result;
use crate::pods::{Pod, SavedPod};
use crate::runtime::container_status;
use crate::runtime::list_pod_sandbox::state;

/// A sandbox that does not answer does not hold up the status.
const EXPLAIN_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn pod_sandbox_status(
    server: Arc<CriServer>,
    request: PodSandboxStatusRequest,
) -> Result<PodSandboxStatusResponse> {
    let pod = server.pods.get(&request.pod_sandbox_id)?;
    let info = if request.verbose {
        info(&pod).await
    } else {
        BTreeMap::new()
    };
    let containers = server.containers.of(&pod.id);
    let statuses = containers
        .iter()
        .map(|c| container_status::status(&c.record.get()));
    Ok(PodSandboxStatusResponse {
        status: Some(status(&pod.record.get())),
        info,
        containers_statuses: statuses.collect(),
        timestamp: now_ns(),
    })
}

/// The status that a record amounts to.
pub(crate) fn status(pod: &SavedPod) -> PodSandboxStatus {
    PodSandboxStatus {
        id: pod.id.0.clone(),
        metadata: Some((&pod.key).into()),
        state: state(pod).into(),
        created_at: pod.created_at_ns,
        network: Some(network(&pod.network.ips)),
        linux: Some(LinuxPodSandboxStatus {
            namespaces: Some(Namespace {
                options: Some(namespaces(pod)),
            }),
        }),
        labels: pod.labels.clone(),
        annotations: pod.annotations.clone(),
        runtime_handler: pod.handler.clone(),
    }
}

fn network(ips: &[String]) -> PodSandboxNetworkStatus {
    let further = ips.iter().skip(1).map(|ip| PodIp { ip: ip.clone() });
    PodSandboxNetworkStatus {
        ip: ips.first().cloned().unwrap_or_default(),
        additional_ips: further.collect(),
    }
}

fn namespaces(pod: &SavedPod) -> NamespaceOption {
    let node_or_pod = |node| {
        if node {
            NamespaceMode::Node
        } else {
            NamespaceMode::Pod
        }
    };
    let pid = match pod {
        pod if pod.host_pid => NamespaceMode::Node,
        pod if pod.shared_pid => NamespaceMode::Pod,
        _ => NamespaceMode::Container,
    };
    NamespaceOption {
        network: node_or_pod(pod.network.namespace.is_none()).into(),
        pid: pid.into(),
        ipc: node_or_pod(pod.host_ipc).into(),
        ..NamespaceOption::default()
    }
}

/// For people who debug: `explain` is what the sandbox says of itself.
async fn info(pod: &Pod) -> BTreeMap<String, String> {
    let record = pod.record.get();
    let told = match pod.sandbox.get() {
        Some(sandbox) => tokio::time::timeout(EXPLAIN_TIMEOUT, sandbox.explain()).await,
        None => Ok(Vec::new()),
    };
    let mut explain: BTreeMap<_, _> = told.unwrap_or_default().into_iter().collect();
    if !record.reason.is_empty() {
        explain.insert("not ready because".into(), record.reason.clone());
    }
    let info = json!({
        "networkNamespace": record.network.namespace,
        "resources": record.resources,
        "overhead": record.overhead,
    });
    [
        ("info".to_string(), info.to_string()),
        ("explain".to_string(), json!(explain).to_string()),
    ]
    .into()
}
