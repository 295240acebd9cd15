//! `stream`: exec and port-forward through the streaming server, as the kubelet uses it: over SPDY. How
//! much passes in a second, and how soon it is there.

mod sample;
mod workload;

use anyhow::Result;
use k8s_cri::v1::NamespaceMode;

use super::Setup;
use super::servers::Server;
use super::values::{note, progress};
use crate::images::BUSYBOX;
use workload::Workload;

/// MiB through the streams of a container on the node, and through those of one in a machine.
const ON_NODE: u64 = 16;
const IN_MACHINE: u64 = 4;

/// Measures all sides in turn, each with a pod that runs all the time.
pub(super) async fn measure(setup: &Setup) -> Result<()> {
    note("of MiB/s more is better: there a ratio above one is ours")?;
    let ours = Server::ours(setup).await?;
    let containerd = Server::containerd().await?;
    let mut sides = Vec::new();
    for server in &ours {
        let side = server.side("namespaced", "namespaced");
        sides.push((side, NamespaceMode::Node, ON_NODE));
    }
    let peer = containerd.side("runc", "runc");
    sides.push((peer, NamespaceMode::Node, ON_NODE));
    for server in &ours {
        sides.push((server.side("kvm", "kvm"), NamespaceMode::Pod, IN_MACHINE));
    }
    let mut workloads = Vec::new();
    for (index, (side, network, mib)) in sides.into_iter().enumerate() {
        side.runtime.clone().pull(BUSYBOX).await?;
        let mut workload = Workload::start(side, network, index, mib).await?;
        // Not counted: what is done for the first time.
        sample::all(&mut workload, sample::Telling::No).await?;
        workloads.push(workload);
    }
    for round in 1..=setup.samples {
        progress(format!("stream: round {round} of {}", setup.samples))?;
        for workload in &mut workloads {
            sample::all(workload, sample::Telling::Yes).await?;
        }
        workloads.reverse();
    }
    for workload in workloads {
        workload.end().await?;
    }
    Ok(())
}
