//! `PodSandboxStats`: what a pod uses as a whole.

use std::sync::Arc;
use std::time::SystemTime;

use cri_api::v1::{
    CpuUsage, LinuxPodSandboxStats, MemoryUsage, NetworkInterfaceUsage, NetworkUsage,
    PodSandboxAttributes, PodSandboxStats, PodSandboxStatsRequest, PodSandboxStatsResponse,
    ProcessUsage,
};
use netlink::Link;
use tracing::debug;

use crate::CriServer;
use crate::clock::to_ns;
use crate::containers::ContainerState;
use crate::error::{Doing, Result, chain};
use crate::network::traffic;
use crate::pods::{Pod, SavedPod};
use crate::runtime::container_stats::number;
use crate::runtime::list_container_stats::measure_all;

pub(super) async fn pod_sandbox_stats(
    server: Arc<CriServer>,
    request: PodSandboxStatsRequest,
) -> Result<PodSandboxStatsResponse> {
    let pod = server.pods.get(&request.pod_sandbox_id)?;
    Ok(PodSandboxStatsResponse {
        stats: Some(measure(&server, &pod).await?),
    })
}

/// Asks its sandbox, and its containers.
pub(super) async fn measure(server: &CriServer, pod: &Pod) -> Result<PodSandboxStats> {
    let stats = pod
        .sandbox()?
        .stats()
        .await
        .doing(format!("measure pod {}", pod.id))?;
    let mut containers = server.containers.of(&pod.id);
    containers.retain(|container| container.record.get().state == ContainerState::Running);
    let timestamp = to_ns(stats.at);
    Ok(PodSandboxStats {
        attributes: Some(attributes(&pod.record.get())),
        linux: Some(LinuxPodSandboxStats {
            cpu: Some(CpuUsage {
                timestamp,
                usage_core_nano_seconds: number(stats.cpu_usage_ns),
                ..CpuUsage::default()
            }),
            memory: Some(MemoryUsage {
                timestamp,
                working_set_bytes: number(stats.memory_working_set_bytes),
                usage_bytes: number(stats.memory_usage_bytes),
                ..MemoryUsage::default()
            }),
            network: network(&pod.record.get()).await,
            process: Some(ProcessUsage {
                timestamp,
                process_count: number(stats.pids),
            }),
            containers: measure_all(server, &containers).await?,
            io: None,
        }),
    })
}

/// Nothing where it shares the node's network. What can't be measured is left out.
async fn network(pod: &SavedPod) -> Option<NetworkUsage> {
    let namespace = pod.network.namespace.clone()?;
    let measured = traffic(namespace).await;
    let (default, others) = measured
        .inspect_err(|error| debug!(pod_id = %pod.id, error = chain(error), "no traffic"))
        .ok()?;
    Some(NetworkUsage {
        timestamp: to_ns(SystemTime::now()),
        default_interface: default.map(usage),
        interfaces: others.into_iter().map(usage).collect(),
    })
}

fn usage(link: Link) -> NetworkInterfaceUsage {
    NetworkInterfaceUsage {
        name: link.name,
        rx_bytes: number(link.traffic.rx_bytes),
        rx_errors: number(link.traffic.rx_errors),
        tx_bytes: number(link.traffic.tx_bytes),
        tx_errors: number(link.traffic.tx_errors),
    }
}

fn attributes(pod: &SavedPod) -> PodSandboxAttributes {
    PodSandboxAttributes {
        id: pod.id.0.clone(),
        metadata: Some((&pod.key).into()),
        labels: pod.labels.clone(),
        annotations: pod.annotations.clone(),
    }
}
