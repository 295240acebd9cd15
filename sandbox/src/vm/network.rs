//! A pod's network as its machine's: a TAP device for each of its interfaces, and what the guest is to
//! know of them.
//!
//! The pod's interfaces stay where its network plugins put them, with their addresses. Every frame
//! that comes in on one goes to the guest, and every frame of the guest's goes out there. The guest
//! has the same Ethernet and IP addresses, routes and neighbours: nobody outside can tell it from a
//! pod without a machine. All of it goes with the namespace; the TAP devices with the VMM already.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use netlink::Socket;
use vmm_api::NetSpec;

mod mover;
mod namespace;
mod scan;
mod tap;
mod words;

use crate::{Error, Result};
pub(super) use mover::Mover;
use namespace::within;
use scan::{Interface, Scan};

/// A pod's network, wired up to the machine to be.
#[derive(Debug)]
pub(super) struct Network {
    namespace: PathBuf,
    scan: Scan,
    /// For each interface.
    wires: Vec<Wire>,
    /// Queue pairs of each interface.
    pairs: usize,
    mover: Mover,
    /// How long it took to wire up.
    took: Duration,
}

/// Most queue pairs of an interface, however many CPUs the guest has to serve them.
const MAX_PAIRS: u32 = 4;

/// What connects an interface with the machine.
#[derive(Debug)]
struct Wire {
    /// The interface's number.
    link: u32,
    /// The TAP device, by a descriptor for each queue pair.
    queues: Vec<OwnedFd>,
    /// As many for vhost-net, if that is to move its frames.
    vhost: Vec<OwnedFd>,
    ingress: Ingress,
}

/// Whose the discipline for an interface's incoming frames is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ingress {
    Ours,
    /// It was there already, with filters that are no business of ours.
    Theirs,
}

impl Network {
    /// Wires up what is in the network namespace at `path` for a machine with `vcpus`. On failure nothing of
    /// it is left.
    pub(super) async fn connect(path: &Path, vcpus: u32, mover: Mover) -> Result<Self> {
        let namespace = path.to_owned();
        let since = Instant::now();
        let connected = within(path, move || {
            let pairs = vcpus.clamp(1, MAX_PAIRS) as usize;
            let mut socket = open()?;
            let scan = Scan::take(&mut socket)?;
            let wires = wire_all(&mut socket, &scan.interfaces, &mover, pairs)?;
            Ok(Self {
                namespace,
                scan,
                wires,
                pairs,
                mover,
                took: Duration::ZERO,
            })
        });
        let connected = connected.await?;
        Ok(Self {
            took: since.elapsed(),
            ..connected
        })
    }

    /// How long it took to wire up.
    pub(super) fn took(&self) -> Duration {
        self.took
    }

    /// Who moves its frames.
    pub(super) fn mover(&self) -> &Mover {
        &self.mover
    }

    /// Queue pairs of each interface.
    pub(super) fn pairs(&self) -> usize {
        self.pairs
    }

    /// Takes the wires out again, for a machine that came to nothing. What can't be is logged: it goes
    /// with the namespace.
    pub(super) async fn disconnect(self) {
        let Self {
            namespace, wires, ..
        } = self;
        if wires.is_empty() {
            return;
        }
        let taken_out = within(&namespace, move || {
            unwire(&mut open()?, &wires);
            Ok(())
        });
        if let Err(error) = taken_out.await {
            tracing::warn!(error = %error.chain(), "a pod's network stays redirected");
        }
    }

    /// The interfaces in the VMM's words, and the descriptors that these count from `first_fd` on.
    pub(super) fn interfaces(&self, first_fd: u32) -> (Vec<NetSpec>, Vec<BorrowedFd<'_>>) {
        let mut numbers = first_fd..;
        let mut numbers_for = |fds: &[OwnedFd]| numbers.by_ref().take(fds.len()).collect();
        let interfaces = self.scan.interfaces.iter().zip(&self.wires);
        let specs = interfaces.map(|(interface, wire)| NetSpec {
            queues: numbers_for(&wire.queues),
            vhost: numbers_for(&wire.vhost),
            mac: interface.mac,
            mtu: interface.mtu,
        });
        let fds = self
            .wires
            .iter()
            .flat_map(|w| w.queues.iter().chain(&w.vhost));
        (specs.collect(), fds.map(AsFd::as_fd).collect())
    }

    /// The network in the agent's words.
    pub(super) fn words(&self) -> agent_api::v1::Network {
        words::network(&self.scan)
    }

    /// The network in people's words.
    pub(super) fn summary(&self) -> String {
        if self.scan.interfaces.is_empty() {
            return "none: the pod's network namespace has no interface but its loopback".into();
        }
        let interfaces = self.scan.interfaces.iter().map(Interface::summary);
        let interfaces = interfaces.collect::<Vec<_>>().join("; ");
        let pairs = match self.pairs {
            1 => "1 queue pair".to_owned(),
            pairs => format!("{pairs} queue pairs"),
        };
        format!(
            "{interfaces}; {} moves frames, over {pairs} each",
            self.mover
        )
    }
}

fn open() -> Result<Socket> {
    Socket::open().map_err(|e| Error::io("open a routing socket", e))
}

/// Wires all of `interfaces`, or none.
fn wire_all(
    socket: &mut Socket,
    interfaces: &[Interface],
    mover: &Mover,
    pairs: usize,
) -> Result<Vec<Wire>> {
    let mut wires = Vec::new();
    for interface in interfaces {
        match wire(socket, interface, mover, pairs) {
            Ok(wire) => wires.push(wire),
            Err(error) => {
                unwire(socket, &wires);
                return Err(error);
            }
        }
    }
    Ok(wires)
}

/// Makes a TAP device, and redirects frames between it and `interface`, both ways.
fn wire(socket: &mut Socket, interface: &Interface, mover: &Mover, pairs: usize) -> Result<Wire> {
    let failed = |doing: &str| {
        let doing = format!("{doing} interface {}", interface.name);
        move |e: io::Error| Error::io(doing, e)
    };
    let vhost = mover.open(pairs)?;
    let (queues, name) = tap::create(pairs).map_err(failed("make a TAP device for"))?;
    let index =
        raise(socket, &name, interface.mtu).map_err(failed("bring up the TAP device of"))?;
    let ingress = add_ingress(socket, interface.link).map_err(failed("prepare to redirect"))?;
    let wire = Wire {
        link: interface.link,
        queues,
        vhost,
        ingress,
    };
    let redirected = socket
        .redirect(interface.link, index)
        .and_then(|()| socket.add_ingress(index))
        .and_then(|()| socket.redirect(index, interface.link));
    if let Err(error) = redirected {
        unwire(socket, &[wire]);
        return Err(failed("redirect frames of")(error));
    }
    Ok(wire)
}

/// Brings a new TAP device up, and gives its number.
fn raise(socket: &mut Socket, name: &str, mtu: u32) -> io::Result<u32> {
    let links = socket.links()?;
    let link = links.iter().find(|link| link.name == name);
    let index = link.ok_or(io::ErrorKind::NotFound)?.index;
    // The host's own IPv6 would talk to the guest.
    let sysctl = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    if let Err(error) = std::fs::write(&sysctl, "1") {
        tracing::debug!(sysctl, %error, "not set");
    }
    socket.set_mtu(index, mtu)?;
    socket.set_up(index)?;
    Ok(index)
}

fn add_ingress(socket: &mut Socket, link: u32) -> io::Result<Ingress> {
    match socket.add_ingress(link) {
        Ok(()) => Ok(Ingress::Ours),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // One of ours that was left behind would be asked first, and lead nowhere. An error
            // means that there is none.
            let _ = socket.stop_redirecting(link);
            Ok(Ingress::Theirs)
        }
        Err(error) => Err(error),
    }
}

/// Takes wires out of interfaces; the TAP devices go with their descriptors.
fn unwire(socket: &mut Socket, wires: &[Wire]) {
    for wire in wires {
        let undone = match wire.ingress {
            Ingress::Ours => socket.remove_ingress(wire.link),
            Ingress::Theirs => socket.stop_redirecting(wire.link),
        };
        if let Err(error) = undone {
            tracing::warn!(link = wire.link, %error, "an interface stays redirected");
        }
    }
}
