//! `net`: throughput, requests and round trips between the node and a pod, over the node's network.
//!
//! Two comparisons: a pod of namespaces with containerd's, and a machine with a pod of namespaces and
//! with QEMU on the same bridge.

mod guest;
mod load;
mod pod;
mod qemu;

use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;

use super::Setup;
use super::servers::{Server, Side};
use super::values::{note, progress};
use pod::Pod;
use qemu::{Qemu, Vhost};

/// What runs in each that is measured: iperf3, and echoes of single connections.
const SERVE: &str =
    "iperf3 -s -D; for port in 7001 7002 7003 7004; do nc -ll -p $port -e cat & done; wait";
/// The ports of the echoes.
const ECHOES: [u16; 4] = [7001, 7002, 7003, 7004];

/// One of those that are compared, while it runs.
enum Peer {
    Pod(Box<Pod>),
    Machine(Qemu),
}

impl Peer {
    async fn pod(side: &Side) -> Result<Self> {
        Ok(Self::Pod(Box::new(Pod::run(side).await?)))
    }

    fn ip(&self) -> IpAddr {
        match self {
            Self::Pod(pod) => pod.ip,
            Self::Machine(_) => qemu::IP.into(),
        }
    }

    async fn end(self) -> Result<()> {
        match self {
            Self::Pod(pod) => pod.end().await,
            Self::Machine(machine) => machine.end(),
        }
    }
}

/// Measures one after another, so that nobody has to share the node.
pub(super) async fn measure(setup: &Setup) -> Result<()> {
    note("Mbit/s and requests/s: a ratio above one is better")?;
    note("machine: ours against a pod of namespaces, and against QEMU (q35) on the same bridge")?;
    note("loop: the VMM moves frames, else vhost-net")?;
    let ours = Server::ours(setup).await?;
    let containerd = Server::containerd().await?;
    let mut namespaced: Vec<Side> = ours.iter().map(|s| s.side("", "namespaced")).collect();
    namespaced.push(containerd.side("", "runc"));
    // The node has vhost-net, and so uses it unless told not to.
    let machines = [("", "kvm"), ("loop", "kvm-loop")];
    let kvm: Vec<Side> = (ours.iter())
        .flat_map(|server| machines.map(|(name, handler)| server.side(name, handler)))
        .collect();
    let initramfs = guest::initramfs(Path::new("/run/bench/guest.cpio"))?;
    for round in 1..=setup.samples {
        progress(format!("net: round {round} of {}", setup.samples))?;
        for side in &namespaced {
            one("pod", &side.name, Peer::pod(side).await?).await?;
        }
        for side in &kvm {
            one("machine", &side.name, Peer::pod(side).await?).await?;
        }
        let veth = Peer::pod(&namespaced[0]).await?;
        one("machine", "namespaced", veth).await?;
        for (name, vhost) in [("qemu", Vhost::Off), ("qemu+vhost", Vhost::On)] {
            let machine = Peer::Machine(Qemu::boot(&initramfs, vhost)?);
            one("machine", name, machine).await?;
        }
    }
    Ok(())
}

async fn one(what: &str, side: &str, peer: Peer) -> Result<()> {
    let measured = load::measure(what, side, peer.ip()).await;
    peer.end().await?;
    measured
}
