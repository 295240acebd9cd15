//! `ContainerStats`: what a container uses.

use std::sync::Arc;

use cri_api::v1::{
    ContainerAttributes, ContainerStats, ContainerStatsRequest, ContainerStatsResponse, CpuUsage,
    FilesystemIdentifier, FilesystemUsage, MemoryUsage, SwapUsage, UInt64Value,
};

use crate::CriServer;
use crate::clock::to_ns;
use crate::containers::{Container, SavedContainer};
use crate::error::{Doing, Result};
use crate::runtime::list_containers::metadata;

pub(super) async fn container_stats(
    server: Arc<CriServer>,
    request: ContainerStatsRequest,
) -> Result<ContainerStatsResponse> {
    let container = server.containers.get(&request.container_id)?;
    Ok(ContainerStatsResponse {
        stats: Some(measure(&server, &container).await?),
    })
}

/// Asks its sandbox.
pub(super) async fn measure(server: &CriServer, container: &Container) -> Result<ContainerStats> {
    let stats = container.workload()?.stats().await;
    let stats = stats.doing(format!("measure container {}", container.id))?;
    let record = container.record.get();
    let timestamp = to_ns(stats.at);
    let memory_limit = record
        .resources
        .memory_bytes
        .and_then(|limit| u64::try_from(limit).ok());
    let available = memory_limit.filter(|limit| *limit > 0);
    Ok(ContainerStats {
        attributes: Some(attributes(&record)),
        cpu: Some(CpuUsage {
            timestamp,
            usage_core_nano_seconds: number(stats.cpu_usage_ns),
            ..CpuUsage::default()
        }),
        memory: Some(MemoryUsage {
            timestamp,
            working_set_bytes: number(stats.memory_working_set_bytes),
            available_bytes: available.map(|limit| UInt64Value {
                value: limit.saturating_sub(stats.memory_working_set_bytes),
            }),
            usage_bytes: number(stats.memory_usage_bytes),
            rss_bytes: number(stats.memory_rss_bytes),
            page_faults: number(stats.page_faults),
            major_page_faults: number(stats.major_page_faults),
            psi: None,
        }),
        writable_layer: Some(FilesystemUsage {
            timestamp,
            fs_id: Some(FilesystemIdentifier {
                mountpoint: server.config.state_dir.display().to_string(),
            }),
            used_bytes: number(stats.writable_bytes),
            inodes_used: number(stats.writable_inodes),
        }),
        swap: Some(SwapUsage {
            timestamp,
            swap_available_bytes: None,
            swap_usage_bytes: number(stats.swap_usage_bytes),
        }),
        io: None,
    })
}

/// A number, as CRI wraps it.
pub(super) fn number(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

fn attributes(container: &SavedContainer) -> ContainerAttributes {
    ContainerAttributes {
        id: container.id.0.clone(),
        metadata: Some(metadata(container)),
        labels: container.labels.clone(),
        annotations: container.annotations.clone(),
    }
}
