//! `memory`: what the node spends per pod beside the container's own processes.

mod processes;

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_cri::v1::NamespaceMode;

use super::Setup;
use super::life::Life;
use super::servers::{Server, Side};
use super::values::{Unit, mebibytes, note, progress, tell};
use crate::images::BUSYBOX;
use processes::Usage;

/// Pods at once; what they share is spread over them.
const PODS: usize = 5;
/// Machines at once: they take longer to start, and share less.
const MACHINES: usize = 2;

/// What is left of starting a pod goes away meanwhile.
const SETTLE: Duration = Duration::from_secs(2);

/// Who is measured, with how many pods at once, in which network.
struct Crowd<'a> {
    server: &'a Server,
    side: Side,
    pods: usize,
    network: NamespaceMode,
}

/// Measures all sides in turn, each with its pods alone in the node.
pub(super) async fn measure(setup: &Setup) -> Result<()> {
    note(format!(
        "{PODS} pods at once, {MACHINES} machines; without the processes of containers, with those of \
         guests; shared pages are counted once (PSS)"
    ))?;
    let ours = Server::ours(setup).await?;
    let containerd = Server::containerd().await?;
    let on_node = |server, side| Crowd {
        server,
        side,
        pods: PODS,
        network: NamespaceMode::Node,
    };
    let mut crowds: Vec<Crowd<'_>> = Vec::new();
    crowds.extend(ours.iter().map(|s| on_node(s, s.side("", "namespaced"))));
    crowds.push(on_node(&containerd, containerd.side("runc", "runc")));
    crowds.extend(ours.iter().map(|server| Crowd {
        side: server.side("kvm", "kvm"),
        pods: MACHINES,
        network: NamespaceMode::Pod,
        server,
    }));
    for crowd in &crowds {
        crowd.side.runtime.clone().pull(BUSYBOX).await?;
        let life = Life::begin(&crowd.side, crowd.network).await?;
        life.end().await?;
    }
    for round in 1..=setup.samples {
        progress(format!("memory: round {round} of {}", setup.samples))?;
        for crowd in &crowds {
            one(crowd).await?;
        }
    }
    Ok(())
}

async fn one(crowd: &Crowd<'_>) -> Result<()> {
    let Crowd { side, network, .. } = crowd;
    let (available, server) = (available()?, Usage::of_process(crowd.server.pid())?);
    let mut lives = Vec::new();
    for _ in 0..crowd.pods {
        lives.push(Life::begin(side, *network).await?);
    }
    tokio::time::sleep(SETTLE).await;
    let all = Usage::of_supervisors()?;
    let grown = Usage::of_process(crowd.server.pid())?;
    // Below zero where something else gave more back.
    let less = mebibytes(available) - mebibytes(self::available()?);
    for life in lives {
        life.end().await?;
    }
    // Few enough to be exact.
    let pods = crowd.pods as f64;
    let tell_mib = |step, bytes| tell(&side.name, step, Unit::Mebibytes, mebibytes(bytes));
    let per_pod = |step, bytes| {
        let value = mebibytes(bytes) / pods;
        tell(&side.name, step, Unit::Mebibytes, value)
    };
    per_pod("supervision of a pod", all.pss)?;
    per_pod("the same, resident (RSS)", all.rss)?;
    tell(
        &side.name,
        "processes of a pod",
        Unit::Processes,
        all.processes as f64 / pods,
    )?;
    tell(
        &side.name,
        "less available in the node, per pod",
        Unit::Mebibytes,
        less / pods,
    )?;
    tell_mib("server, without pods", server.pss)?;
    tell_mib("server, with all of them", grown.pss)?;
    Ok(())
}

/// What the node could still give to processes, in bytes.
fn available() -> Result<u64> {
    fs::write("/proc/sys/vm/drop_caches", "3").context("drop the page cache")?;
    let text = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    processes::kib_of(&text, "MemAvailable:").context("the node tells its memory")
}
