//! A pod's network in the agent's words, which know links by their names.

use std::net::IpAddr;

use agent_api::v1;
use netlink::address::NODAD;
use netlink::{Address, Neighbour, Route, Rule};

use super::scan::{Interface, Scan};

pub(super) fn network(scan: &Scan) -> v1::Network {
    let name = |link: u32| {
        let found = scan.interfaces.iter().find(|i| i.link == link);
        found.map(|interface| interface.name.clone())
    };
    let routes = scan.routes.iter();
    let neighbours = scan.neighbours.iter();
    v1::Network {
        interfaces: scan.interfaces.iter().map(interface).collect(),
        rules: scan.rules.iter().map(words_of_rule).collect(),
        routes: routes
            .filter_map(|route| Some(words_of_route(name(route.link)?, route)))
            .collect(),
        neighbours: neighbours
            .filter_map(|neighbour| Some(words_of_neighbour(name(neighbour.link)?, neighbour)))
            .collect(),
    }
}

fn interface(interface: &Interface) -> v1::Interface {
    v1::Interface {
        name: interface.name.clone(),
        mac: interface.mac.to_vec(),
        mtu: interface.mtu,
        addresses: interface.addresses.iter().map(address).collect(),
    }
}

fn address(address: &Address) -> v1::InterfaceAddress {
    // The address is the pod's already; asking again would take a second.
    let nodad = if address.ip.is_ipv6() { NODAD } else { 0 };
    v1::InterfaceAddress {
        ip: bytes(&address.ip),
        prefix: address.prefix.into(),
        peer: some_bytes(address.peer.as_ref()),
        broadcast: some_bytes(address.broadcast.as_ref()),
        scope: address.scope.into(),
        flags: address.flags | nodad,
    }
}

fn words_of_route(interface: String, route: &Route) -> v1::Route {
    let (destination, prefix) = &route.destination;
    v1::Route {
        interface,
        destination: bytes(destination),
        prefix: (*prefix).into(),
        gateway: some_bytes(route.gateway.as_ref()),
        source: some_bytes(route.source.as_ref()),
        metric: route.metric,
        mtu: route.mtu,
        advmss: route.advmss,
        scope: route.scope.into(),
        protocol: route.protocol.into(),
        onlink: route.onlink,
        table: Some(route.table),
    }
}

fn words_of_rule(rule: &Rule) -> v1::Rule {
    let (source, source_prefix) = &rule.source;
    let (destination, destination_prefix) = &rule.destination;
    v1::Rule {
        source: bytes(source),
        source_prefix: (*source_prefix).into(),
        destination: bytes(destination),
        destination_prefix: (*destination_prefix).into(),
        priority: rule.priority,
        table: rule.table,
    }
}

fn words_of_neighbour(interface: String, neighbour: &Neighbour) -> v1::Neighbour {
    v1::Neighbour {
        interface,
        ip: bytes(&neighbour.ip),
        mac: neighbour.mac.to_vec(),
    }
}

fn some_bytes(ip: Option<&IpAddr>) -> Vec<u8> {
    ip.map(bytes).unwrap_or_default()
}

fn bytes(ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_go_by_their_names() {
        let scan = Scan {
            interfaces: vec![Interface {
                link: 7,
                name: "eth0".into(),
                mac: [2; 6],
                mtu: 1450,
                addresses: vec![Address {
                    link: 7,
                    ip: "fd00::3".parse().unwrap(),
                    prefix: 64,
                    peer: None,
                    broadcast: None,
                    scope: 0,
                    flags: 0,
                }],
            }],
            routes: vec![],
            rules: vec![],
            neighbours: vec![Neighbour {
                link: 7,
                ip: "169.254.1.1".parse().unwrap(),
                mac: [0xee; 6],
            }],
        };
        let words = network(&scan);
        assert_eq!(words.neighbours[0].interface, "eth0");
        assert_eq!(words.neighbours[0].ip, [169, 254, 1, 1]);
        let address = &words.interfaces[0].addresses[0];
        assert_eq!((address.ip.len(), address.flags), (16, NODAD));
    }
}
