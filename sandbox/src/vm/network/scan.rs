//! What is in a network namespace. Plugins don't tell all that they set up, so the kernel is asked.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use netlink::address::NOPREFIXROUTE;
use netlink::{Address, Link, Neighbour, Route, Rule, Socket};

use crate::{Error, Result};

/// The kernel's limit for TAP devices.
const MAX_MTU: u32 = 65521;

/// A pod's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) interfaces: Vec<Interface>,
    /// Routes through these interfaces.
    pub(super) routes: Vec<Route>,
    /// Which packets other tables than the main one route.
    pub(super) rules: Vec<Rule>,
    /// Permanent neighbours on them.
    pub(super) neighbours: Vec<Neighbour>,
}

/// An interface that the guest gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) link: u32,
    pub(super) name: String,
    pub(super) mac: [u8; 6],
    pub(super) mtu: u32,
    pub(super) addresses: Vec<Address>,
}

impl Scan {
    /// What is there now.
    pub(super) fn take(socket: &mut Socket) -> Result<Self> {
        let failed = |what: &str| {
            let doing = format!("list the pod's {what}");
            move |e: io::Error| Error::io(doing, e)
        };
        let links = socket.links().map_err(failed("interfaces"))?;
        let addresses = socket.addresses().map_err(failed("addresses"))?;
        let (routes, strange) = socket.routes().map_err(failed("routes"))?;
        let (rules, strange_rules) = socket.rules().map_err(failed("routing rules"))?;
        let neighbours = socket.neighbours().map_err(failed("neighbours"))?;
        if strange > 0 {
            tracing::warn!(
                routes = strange,
                "routes over several ways, or to nowhere, are not taken over into the machine"
            );
        }
        if strange_rules > 0 {
            tracing::warn!(
                rules = strange_rules,
                "routing rules for other things than addresses are not taken over into the machine"
            );
        }
        Ok(Self {
            rules,
            ..Self::of(links, &addresses, routes, neighbours)
        })
    }

    fn of(
        links: Vec<Link>,
        addresses: &[Address],
        routes: Vec<Route>,
        neighbours: Vec<Neighbour>,
    ) -> Self {
        let interfaces = links.into_iter().filter_map(|link| {
            let index = link.index;
            let of_link = addresses.iter().filter(|address| address.link == index);
            Interface::of(link, of_link)
        });
        let interfaces: Vec<_> = interfaces.collect();
        let ours = |link: u32| interfaces.iter().any(|interface| interface.link == link);
        let routes = routes.into_iter().filter(|route| ours(route.link));
        let neighbours = neighbours.into_iter().filter(|n| ours(n.link));
        Self {
            routes: routes.collect(),
            rules: Vec::new(),
            neighbours: neighbours.collect(),
            interfaces,
        }
    }
}

impl Interface {
    /// `None` for a link that no frames of the pod's go through.
    fn of<'a>(link: Link, addresses: impl Iterator<Item = &'a Address>) -> Option<Self> {
        let mac = link.mac.filter(|_| !link.loopback && link.up)?;
        let addresses = addresses.filter(|address| !is_made_by_kernel(&address.ip, mac));
        Some(Self {
            link: link.index,
            name: link.name,
            mac,
            mtu: link.mtu.min(MAX_MTU),
            addresses: addresses.map(taken_over).collect(),
        })
    }

    /// The interface in people's words.
    pub(super) fn summary(&self) -> String {
        let mac = self.mac.map(|byte| format!("{byte:02x}")).join(":");
        let addresses = self.addresses.iter();
        let addresses: String = addresses
            .map(|address| format!(" {}/{}", address.ip, address.prefix))
            .collect();
        format!("{} {mac} mtu {}{addresses}", self.name, self.mtu)
    }
}

/// Of an address's flags, what it was given rather than what became of it.
fn taken_over(address: &Address) -> Address {
    Address {
        flags: address.flags & NOPREFIXROUTE,
        ..address.clone()
    }
}

/// The guest's kernel makes the same link-local address of the same Ethernet address.
fn is_made_by_kernel(ip: &IpAddr, mac: [u8; 6]) -> bool {
    let [a, b, c, d, e, f] = mac;
    // RFC 4291, appendix A.
    let id = [a ^ 2, b, c, 0xff, 0xfe, d, e, f];
    let mut octets = [0; 16];
    octets[..2].copy_from_slice(&[0xfe, 0x80]);
    octets[8..].copy_from_slice(&id);
    *ip == Ipv6Addr::from(octets)
}

#[cfg(test)]
mod tests {
    use netlink::Traffic;

    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.to_owned(),
            mac: Some([0x0a, 0x58, 10, 1, 2, 3]),
            mtu: 1450,
            up: true,
            loopback: false,
            traffic: Traffic::default(),
        }
    }

    fn address(link: u32, ip: &str, prefix: u8) -> Address {
        Address {
            link,
            ip: ip.parse().unwrap(),
            prefix,
            peer: None,
            broadcast: None,
            scope: 0,
            flags: 0x80,
        }
    }

    fn route(link: u32) -> Route {
        Route {
            destination: (Ipv6Addr::UNSPECIFIED.into(), 0),
            gateway: None,
            link,
            source: None,
            metric: None,
            mtu: None,
            advmss: None,
            scope: 0,
            onlink: false,
            protocol: 3,
            table: netlink::route::MAIN,
        }
    }

    #[test]
    fn the_guest_gets_every_interface_that_is_up_but_the_loopback() {
        let lo = Link {
            loopback: true,
            mac: Some([0; 6]),
            ..link(1, "lo")
        };
        let down = Link {
            up: false,
            ..link(3, "down")
        };
        let tunnel = Link {
            mac: None,
            ..link(4, "sit0")
        };
        let large = Link {
            mtu: 65535,
            ..link(5, "net1")
        };
        let addresses = [
            address(1, "127.0.0.1", 8),
            address(2, "10.1.2.3", 24),
            address(2, "fd00::3", 64),
            address(2, "fe80::858:aff:fe01:203", 64),
            address(2, "fe80::1", 64),
        ];
        let links = vec![lo, link(2, "eth0"), down, tunnel, large];
        let scan = Scan::of(links, &addresses, vec![route(1), route(2)], vec![]);
        let summaries: Vec<_> = scan.interfaces.iter().map(Interface::summary).collect();
        assert_eq!(
            summaries,
            [
                "eth0 0a:58:0a:01:02:03 mtu 1450 10.1.2.3/24 fd00::3/64 fe80::1/64",
                "net1 0a:58:0a:01:02:03 mtu 65521",
            ]
        );
        assert_eq!(scan.routes, [route(2)]);
        assert!(scan.interfaces[0].addresses.iter().all(|a| a.flags == 0));
    }
}
