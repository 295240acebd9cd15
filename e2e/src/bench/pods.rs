//! `pods`: one pod after the other, from RunPodSandbox to RemovePodSandbox, ours against containerd.
//!
//! In the network of the node, so that no network plugin is measured with it.

use std::time::Duration;

use anyhow::Result;
use k8s_cri::v1::NamespaceMode;

use super::Setup;
use super::life::{Life, tell_steps};
use super::servers::{Server, Side};
use super::values::progress;
use crate::images::BUSYBOX;

/// What a server does after its answer is not to be the next one's burden.
const SETTLE: Duration = Duration::from_millis(500);

/// Measures all sides in turn, so that what else goes on in the node hits them alike. Each round goes
/// the other way than the last, so that none comes always after the same other.
pub(super) async fn measure(setup: &Setup) -> Result<()> {
    let ours = Server::ours(setup).await?;
    let containerd = Server::containerd().await?;
    let with_crun = Server::containerd_with_crun().await?;
    let mut sides: Vec<Side> = ours.iter().map(|s| s.side("", "namespaced")).collect();
    sides.push(containerd.side("runc", "runc"));
    sides.push(with_crun.side("crun", "crun"));
    for side in &sides {
        side.runtime.clone().pull(BUSYBOX).await?;
        // Not counted: what is read from disk for the first time, a pause image that is pulled.
        one(side).await?;
    }
    for round in 1..=setup.samples {
        progress(format!("pods: round {round} of {}", setup.samples))?;
        for side in &sides {
            tell_steps(side, &one(side).await?)?;
            tokio::time::sleep(SETTLE).await;
        }
        sides.reverse();
    }
    Ok(())
}

async fn one(side: &Side) -> Result<Vec<(&'static str, Duration)>> {
    let mut life = Life::begin(side, NamespaceMode::Node).await?;
    life.exec_true().await?;
    life.end().await
}
