//! `net`: throughput, requests and round trips between the node and a pod, over the node's network.
//!
//! Three comparisons: a pod of namespaces with containerd's; a machine whose frames the VMM moves with a
//! pod of namespaces, and with QEMU that moves them itself; and a machine and QEMU whose frames
//! vhost-net moves. QEMU is in a pod's network and cgroup, as ours is: on one CPU, whom the scheduler
//! prefers decides more than who moves frames how.

mod guest;
mod load;
mod pod;
mod qemu;
mod wiring;

use anyhow::{Context, Result};

use super::Setup;
use super::servers::{Server, Side};
use super::values::{note, progress, tell};
use load::{Load, Step};
use pod::Pod;
use qemu::{Qemu, Vhost};

/// What runs in each that is measured: iperf3, and echoes of single connections.
const SERVE: &str =
    "iperf3 -s -D; for port in 7001 7002 7003 7004; do nc -ll -p $port -e cat & done; wait";
/// Linux makes TCP's segments the shorter, the longer its connection's round trip was. Where CPUs are
/// emulated that is milliseconds, hence short segments, or long ones by luck; with this setting they are as
/// long as they are where a round trip takes microseconds.
const LONG_SEGMENTS: (&str, &str) = ("net.ipv4.tcp_tso_rtt_log", "31");
/// The ports of the echoes.
const ECHOES: [u16; 4] = [7001, 7002, 7003, 7004];

/// One of those that are compared, while it runs.
struct Peer {
    side: String,
    load: Load,
    runs: Runs,
}

enum Runs {
    Pod(Pod),
    Qemu(Qemu),
}

impl Peer {
    async fn pod(side: &Side, named: &str) -> Result<Self> {
        let pod = Pod::run(side).await?;
        Ok(Self {
            side: named.to_owned(),
            load: Load::connect(pod.ip).await?,
            runs: Runs::Pod(pod),
        })
    }

    async fn qemu(setup: &mut qemu::Setup, vhost: Vhost) -> Result<Self> {
        let machine = setup.boot(vhost).await?;
        Ok(Self {
            side: "qemu".to_owned(),
            load: Load::connect(machine.ip).await?,
            runs: Runs::Qemu(machine),
        })
    }

    async fn end(self) -> Result<()> {
        match self.runs {
            Runs::Pod(pod) => pod.end().await,
            Runs::Qemu(machine) => machine.end().await,
        }
    }
}

/// Measures those that are compared at the same time, in turn.
pub(super) async fn measure(setup: &Setup) -> Result<()> {
    note("Mbit/s and requests/s: a ratio above one is better")?;
    let (name, value) = LONG_SEGMENTS;
    std::fs::write(sysctl_path(name), value).with_context(|| format!("set {name} of the node"))?;
    note("loop: the VMM moves a machine's frames, or QEMU; vhost: the node's kernel does")?;
    let ours = Server::ours(setup).await?;
    let containerd = Server::containerd().await?;
    let sides = |handler: &'static str| ours.iter().map(move |server| server.side("", handler));
    let pods = sides("namespaced").chain([containerd.side("", "runc")]);
    compare("pod", setup.samples, running(pods).await?).await?;
    let mut qemu = qemu::Setup::new(&ours[0].runtime)?;
    let mut moved_by_vmm = running(sides("kvm-loop")).await?;
    let veth = ours[0].side("", "namespaced");
    moved_by_vmm.push(Peer::pod(&veth, "namespaced").await?);
    moved_by_vmm.push(Peer::qemu(&mut qemu, Vhost::Off).await?);
    compare("loop", setup.samples, moved_by_vmm).await?;
    // The node has vhost-net, and so uses it unless told not to.
    let mut moved_by_kernel = running(sides("kvm")).await?;
    moved_by_kernel.push(Peer::qemu(&mut qemu, Vhost::On).await?);
    compare("vhost", setup.samples, moved_by_kernel).await
}

/// Where a sysctl is written.
fn sysctl_path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

async fn running(sides: impl Iterator<Item = Side>) -> Result<Vec<Peer>> {
    let mut peers = Vec::new();
    for side in sides {
        peers.push(Peer::pod(&side, &side.name).await?);
    }
    Ok(peers)
}

/// One after another, so that nobody has to share the node, and in short turns, so that whatever else the
/// node is slowed down by slows all of them down.
async fn compare(what: &str, samples: usize, mut peers: Vec<Peer>) -> Result<()> {
    for sample in 1..=samples {
        progress(format!("net: {what}, {sample} of {samples}"))?;
        for step in Step::ALL {
            for peer in &mut peers {
                let measured = peer.load.measure(step).await;
                let value = measured.with_context(|| format!("{what}: {}", peer.side))?;
                tell(
                    &peer.side,
                    &format!("{what}: {}", step.name()),
                    step.unit(),
                    value,
                )?;
            }
        }
    }
    for peer in peers {
        peer.end().await?;
    }
    Ok(())
}
