//! The guest's network: its loopback, and what the pod's network namespace on the host has.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use agent_api::v1;
use netlink::{Link, Socket};

use super::{GuestError, try_write_file};

mod words;

use words::Words;

/// The kernel makes the loopback first.
const LOOPBACK: u32 = 1;

/// Links are there before the host's first call can be, on all but the slowest of hosts.
const LINK_LIMIT: Duration = Duration::from_secs(5);
const LINK_INTERVAL: Duration = Duration::from_millis(10);

/// Brings `lo` up; the kernel gives it its addresses.
pub(super) fn raise_loopback() -> Result<(), GuestError> {
    open()?
        .set_up(LOOPBACK)
        .map_err(failed(|| "bring up the loopback".to_owned()))
}

/// Makes the guest's network what `network` says. What is there already is fine.
pub(crate) fn configure(network: Option<&v1::Network>) -> Result<(), GuestError> {
    let Some(network) = network.filter(|network| !network.interfaces.is_empty()) else {
        return Ok(());
    };
    let words = Words::read(network)?;
    let mut socket = open()?;
    let links = find_links(&mut socket, &words)?;
    name_links(&mut socket, &links)?;
    for (interface, link) in &links {
        raise(&mut socket, interface, link.index, &words)?;
    }
    let indices = links
        .iter()
        .map(|(interface, link)| (interface.name.as_str(), link.index))
        .collect();
    add(&mut socket, &words, &indices)?;
    tracing::info!(
        interfaces = links.len(),
        routes = words.routes.len(),
        rules = words.rules.len(),
        "network configured"
    );
    Ok(())
}

fn open() -> Result<Socket, GuestError> {
    Socket::open().map_err(failed(|| "open a routing socket".to_owned()))
}

fn failed(doing: impl FnOnce() -> String) -> impl FnOnce(io::Error) -> GuestError {
    |source| GuestError::Network {
        doing: doing(),
        source,
    }
}

type Found<'a> = Vec<(&'a words::Interface, Link)>;

/// The link of each interface, by its Ethernet address.
fn find_links<'a>(socket: &mut Socket, words: &'a Words) -> Result<Found<'a>, GuestError> {
    let deadline = Instant::now() + LINK_LIMIT;
    loop {
        let links = socket.links().map_err(failed(|| "list links".to_owned()))?;
        let missing = match match_links(words, &links) {
            Ok(found) => return Ok(found),
            Err(missing) => missing,
        };
        if Instant::now() > deadline {
            let [a, b, c, d, e, f] = missing.mac;
            return Err(GuestError::Network {
                doing: format!(
                    "find interface {} with address {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}",
                    missing.name
                ),
                source: io::ErrorKind::NotFound.into(),
            });
        }
        std::thread::sleep(LINK_INTERVAL);
    }
}

/// Or the first interface that has none.
fn match_links<'a>(words: &'a Words, links: &[Link]) -> Result<Found<'a>, &'a words::Interface> {
    let found = words.interfaces.iter().map(|interface| {
        let link = links.iter().find(|link| link.mac == Some(interface.mac));
        Ok((interface, link.ok_or(interface)?.clone()))
    });
    found.collect()
}

/// Gives links their names, through others, since a name may be another's until then.
fn name_links(socket: &mut Socket, links: &Found<'_>) -> Result<(), GuestError> {
    let wrong: Vec<_> = links
        .iter()
        .filter(|(interface, link)| interface.name != link.name)
        .collect();
    let mut rename = |link: &Link, name: &str| {
        let doing = || format!("call interface {} {name}", link.name);
        socket.rename(link.index, name).map_err(failed(doing))
    };
    for (_, link) in &wrong {
        rename(link, &format!("unnamed{}", link.index))?;
    }
    for (interface, link) in &wrong {
        rename(link, &interface.name)?;
    }
    Ok(())
}

/// Switches an interface on. What the host knows of IPv6 needn't be found out again.
fn raise(
    socket: &mut Socket,
    interface: &words::Interface,
    index: u32,
    words: &Words,
) -> Result<(), GuestError> {
    let name = &interface.name;
    let sysctl = |key: &str| format!("/proc/sys/net/ipv6/conf/{name}/{key}");
    try_write_file(&sysctl("accept_dad"), "0");
    if words.has_ipv6_route(name) {
        try_write_file(&sysctl("accept_ra"), "0");
    }
    socket
        .set_mtu(index, interface.mtu)
        .map_err(failed(|| format!("set MTU {} of {name}", interface.mtu)))?;
    socket
        .set_up(index)
        .map_err(failed(|| format!("bring up {name}")))
}

/// Adds addresses, routes and neighbours.
fn add(socket: &mut Socket, words: &Words, indices: &HashMap<&str, u32>) -> Result<(), GuestError> {
    let link = |name: &str| {
        let index = indices.get(name).copied();
        index.ok_or_else(|| GuestError::NetworkWords(format!("interface {name:?}")))
    };
    for interface in &words.interfaces {
        let link = link(&interface.name)?;
        for address in &interface.addresses {
            let address = netlink::Address {
                link,
                ..address.clone()
            };
            present(socket.add_address(&address)).map_err(failed(|| {
                let netlink::Address { ip, prefix, .. } = address;
                format!("add address {ip}/{prefix} to {}", interface.name)
            }))?;
        }
    }
    for (interface, route) in &words.routes {
        let route = netlink::Route {
            link: link(interface)?,
            ..route.clone()
        };
        let described = || format!("add route {}", words::describe(interface, &route));
        present(socket.add_route(&route)).map_err(failed(described))?;
    }
    for rule in &words.rules {
        let described = || format!("add rule {}", words::describe_rule(rule));
        present(socket.add_rule(rule)).map_err(failed(described))?;
    }
    for (interface, neighbour) in &words.neighbours {
        let neighbour = netlink::Neighbour {
            link: link(interface)?,
            ..neighbour.clone()
        };
        let described = || format!("add neighbour {} on {interface}", neighbour.ip);
        socket
            .add_neighbour(&neighbour)
            .map_err(failed(described))?;
    }
    Ok(())
}

/// The kernel may have made it by itself, or an earlier call.
fn present(added: io::Result<()>) -> io::Result<()> {
    match added {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        added => added,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, mac: u8) -> v1::Interface {
        v1::Interface {
            name: name.to_owned(),
            mac: vec![mac; 6],
            mtu: 1500,
            ..v1::Interface::default()
        }
    }

    fn link(index: u32, name: &str, mac: u8) -> Link {
        Link {
            index,
            name: name.to_owned(),
            mac: Some([mac; 6]),
            mtu: 1500,
            up: false,
            loopback: false,
            traffic: netlink::Traffic::default(),
        }
    }

    #[test]
    fn links_are_known_by_their_ethernet_address() {
        let words = Words::read(&v1::Network {
            interfaces: vec![interface("eth0", 2), interface("net1", 4)],
            ..v1::Network::default()
        })
        .unwrap();
        let links = [link(2, "eth0", 4), link(3, "eth1", 2)];
        let found = match_links(&words, &links).unwrap();
        let indices: Vec<_> = found.iter().map(|(i, l)| (&*i.name, l.index)).collect();
        assert_eq!(indices, [("eth0", 3), ("net1", 2)]);
        let missing = match_links(&words, &links[1..]).unwrap_err();
        assert_eq!(missing.name, "net1");
    }

    #[test]
    fn a_pod_without_interfaces_needs_nothing() {
        configure(None).unwrap();
        configure(Some(&v1::Network::default())).unwrap();
    }
}
