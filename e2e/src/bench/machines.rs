//! `machines`: the life of a pod that is a machine of ours, and what its start is made of.

mod boot;

use std::time::SystemTime;

use anyhow::Result;
use k8s_cri::v1::NamespaceMode;

use super::Setup;
use super::life::{Life, tell_steps};
use super::servers::{Server, Side};
use super::values::{note, progress, tell_time};
use crate::images::BUSYBOX;
use boot::Boot;

/// Measures machine after machine.
pub(super) async fn measure(setup: &Setup) -> Result<()> {
    let ours = Server::ours(setup).await?;
    let sides: Vec<Side> = ours.iter().map(|s| s.side("kvm", "kvm")).collect();
    note("alone: the node has no QEMU to be a peer")?;
    for side in &sides {
        side.runtime.clone().pull(BUSYBOX).await?;
        Life::begin(side, NamespaceMode::Pod).await?.end().await?;
    }
    for round in 1..=setup.samples {
        progress(format!("machines: round {round} of {}", setup.samples))?;
        for side in &sides {
            one(side).await?;
        }
    }
    Ok(())
}

async fn one(side: &Side) -> Result<()> {
    let begin = SystemTime::now();
    let mut life = Life::begin(side, NamespaceMode::Pod).await?;
    let boot = Boot::read(&mut side.runtime.clone(), life.pod_id()).await?;
    life.exec_true().await?;
    tell_steps(side, &life.end().await?)?;
    for (step, took) in boot.steps(begin)? {
        tell_time(&side.name, step, took)?;
    }
    Ok(())
}
