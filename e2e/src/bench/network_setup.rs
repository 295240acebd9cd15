//! `network-setup`: what is our own of a pod's network at its start, plugins aside, as the server's metrics
//! have it.

mod metrics;

use anyhow::Result;
use k8s_cri::v1::NamespaceMode;

use super::Setup;
use super::life::pod;
use super::servers::{Server, Side};
use super::values::{note, progress, tell_time};
use metrics::Steps;

/// Measures a pod of each kind in turn, alone in the node.
pub(super) async fn measure(setup: &Setup) -> Result<()> {
    note(
        "ours: the namespace with its loopback and records; for a machine devices and redirections, too",
    )?;
    let ours = Server::of_this_checkout().await?;
    let sides = [ours.side("", "namespaced"), ours.side("kvm", "kvm")];
    for side in &sides {
        run(side).await?;
    }
    for round in 1..=setup.samples {
        progress(format!("network-setup: round {round} of {}", setup.samples))?;
        for side in &sides {
            let before = Steps::read(side.handler)?;
            run(side).await?;
            let took = Steps::read(side.handler)?.since(&before);
            tell_time(&side.name, "network, ours", took.own + took.wiring)?;
            tell_time(&side.name, "of it: namespace and records", took.own)?;
            tell_time(&side.name, "of it: wiring of the machine", took.wiring)?;
            tell_time(
                &side.name,
                "plugins, and waiting for them",
                took.network - took.own,
            )?;
        }
    }
    Ok(())
}

/// A pod in a network of its own, without a container.
async fn run(side: &Side) -> Result<()> {
    let mut runtime = side.runtime.clone();
    let pod = runtime
        .run_pod(side.handler, &pod(NamespaceMode::Pod)?)
        .await?;
    pod.finish().await
}
