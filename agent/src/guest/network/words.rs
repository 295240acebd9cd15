//! The host's words on the network, read and put in order. Links get their numbers later.

use std::net::IpAddr;

use agent_api::v1;
use netlink::{Address, Neighbour, Route, Rule, route};

use crate::guest::GuestError;

/// A whole network.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) interfaces: Vec<Interface>,
    /// By interface. Those to what is on a link come first: gateways are there.
    pub(super) routes: Vec<(String, Route)>,
    /// By interface.
    pub(super) neighbours: Vec<(String, Neighbour)>,
    pub(super) rules: Vec<Rule>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) mac: [u8; 6],
    pub(super) mtu: u32,
    pub(super) addresses: Vec<Address>,
}

impl Words {
    pub(super) fn read(network: &v1::Network) -> Result<Self, GuestError> {
        let interfaces = network.interfaces.iter().map(interface);
        let routes = network.routes.iter().map(read_route);
        let neighbours = network.neighbours.iter().map(neighbour);
        let mut routes: Vec<_> = routes.collect::<Result<_, _>>()?;
        routes.sort_by_key(|(_, route)| route.gateway.is_some());
        Ok(Self {
            interfaces: interfaces.collect::<Result<_, _>>()?,
            routes,
            neighbours: neighbours.collect::<Result<_, _>>()?,
            rules: network.rules.iter().map(rule).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn has_ipv6_route(&self, interface: &str) -> bool {
        self.routes
            .iter()
            .any(|(name, route)| name == interface && route.destination.0.is_ipv6())
    }
}

/// A route as people write it.
pub(super) fn describe(interface: &str, route: &Route) -> String {
    let (network, bits) = &route.destination;
    match route.gateway {
        Some(gateway) => format!("to {network}/{bits} through {gateway} on {interface}"),
        None => format!("to {network}/{bits} on {interface}"),
    }
}

/// A rule as people write it.
pub(super) fn describe_rule(rule: &Rule) -> String {
    let ((source, from), (destination, to)) = (&rule.source, &rule.destination);
    format!(
        "from {source}/{from} to {destination}/{to} by table {}",
        rule.table
    )
}

fn interface(interface: &v1::Interface) -> Result<Interface, GuestError> {
    let name = interface.name.clone();
    // Linux's own limits on names, which go into paths here.
    if name.is_empty() || name.len() > 15 || !is_path_safe(&name) {
        return Err(GuestError::NetworkWords(format!("name {name:?}")));
    }
    let of = |what: &str| format!("{what} of interface {name}");
    let addresses = interface.addresses.iter().map(|address| {
        Ok(Address {
            link: 0,
            ip: ip(&address.ip, || of("an address"))?,
            prefix: byte(address.prefix, || of("a prefix"))?,
            peer: some_ip(&address.peer, || of("a peer"))?,
            broadcast: some_ip(&address.broadcast, || of("a broadcast address"))?,
            scope: byte(address.scope, || of("a scope"))?,
            flags: address.flags,
        })
    });
    Ok(Interface {
        mac: mac(&interface.mac, || of("the Ethernet address"))?,
        mtu: interface.mtu,
        addresses: addresses.collect::<Result<_, GuestError>>()?,
        name,
    })
}

/// A VLAN's name has a dot in it; what leads to other files doesn't pass.
fn is_path_safe(name: &str) -> bool {
    !name.contains('/') && name != "." && name != ".."
}

fn read_route(route: &v1::Route) -> Result<(String, Route), GuestError> {
    let of = |what: &str| format!("{what} of a route on {}", route.interface);
    let read = Route {
        destination: (
            ip(&route.destination, || of("the destination"))?,
            byte(route.prefix, || of("the prefix"))?,
        ),
        gateway: some_ip(&route.gateway, || of("the gateway"))?,
        link: 0,
        source: some_ip(&route.source, || of("the source"))?,
        metric: route.metric,
        mtu: route.mtu,
        advmss: route.advmss,
        scope: byte(route.scope, || of("the scope"))?,
        onlink: route.onlink,
        protocol: byte(route.protocol, || of("the protocol"))?,
        table: route.table.unwrap_or(route::MAIN),
    };
    Ok((route.interface.clone(), read))
}

fn rule(rule: &v1::Rule) -> Result<Rule, GuestError> {
    let of = |what: &str| format!("{what} of a rule for table {}", rule.table);
    let network = |network: &[u8], prefix, what: &str| {
        Ok((ip(network, || of(what))?, byte(prefix, || of(what))?))
    };
    Ok(Rule {
        source: network(&rule.source, rule.source_prefix, "the source")?,
        destination: network(
            &rule.destination,
            rule.destination_prefix,
            "the destination",
        )?,
        priority: rule.priority,
        table: rule.table,
    })
}

fn neighbour(neighbour: &v1::Neighbour) -> Result<(String, Neighbour), GuestError> {
    let of = |what: &str| format!("{what} of a neighbour on {}", neighbour.interface);
    let read = Neighbour {
        link: 0,
        ip: ip(&neighbour.ip, || of("the address"))?,
        mac: mac(&neighbour.mac, || of("the Ethernet address"))?,
    };
    Ok((neighbour.interface.clone(), read))
}

fn ip(bytes: &[u8], what: impl Fn() -> String) -> Result<IpAddr, GuestError> {
    some_ip(bytes, &what)?.ok_or_else(|| GuestError::NetworkWords(what()))
}

fn some_ip(bytes: &[u8], what: impl Fn() -> String) -> Result<Option<IpAddr>, GuestError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    let ip = v4.or_else(|_| v6());
    ip.map(Some).map_err(|_| GuestError::NetworkWords(what()))
}

fn mac(bytes: &[u8], what: impl Fn() -> String) -> Result<[u8; 6], GuestError> {
    let mac = bytes.try_into();
    mac.map_err(|_| GuestError::NetworkWords(what()))
}

fn byte(number: u32, what: impl Fn() -> String) -> Result<u8, GuestError> {
    u8::try_from(number).map_err(|_| GuestError::NetworkWords(what()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default_route(gateway: &[u8]) -> v1::Route {
        v1::Route {
            interface: "eth0".to_owned(),
            destination: vec![0; gateway.len()],
            gateway: gateway.to_vec(),
            ..v1::Route::default()
        }
    }

    #[track_caller]
    fn check_refused(network: &v1::Network, words: &str) {
        let error = Words::read(network).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("configure the network: {words} makes no sense")
        );
    }

    #[test]
    fn ways_to_gateways_come_before_ways_through_them() {
        let on_link = v1::Route {
            interface: "eth0".to_owned(),
            destination: vec![169, 254, 1, 1],
            prefix: 32,
            ..v1::Route::default()
        };
        let network = v1::Network {
            routes: vec![default_route(&[169, 254, 1, 1]), on_link],
            ..v1::Network::default()
        };
        let words = Words::read(&network).unwrap();
        let described: Vec<_> = words.routes.iter().map(|(i, r)| describe(i, r)).collect();
        assert_eq!(
            described,
            [
                "to 169.254.1.1/32 on eth0",
                "to 0.0.0.0/0 through 169.254.1.1 on eth0",
            ]
        );
        assert!(!words.has_ipv6_route("eth0"));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let route = v1::Network {
            routes: vec![default_route(&[1, 2, 3])],
            ..v1::Network::default()
        };
        check_refused(&route, "the destination of a route on eth0");
        let interface = |name: &str, mac: &[u8]| v1::Network {
            interfaces: vec![v1::Interface {
                name: name.to_owned(),
                mac: mac.to_vec(),
                ..v1::Interface::default()
            }],
            ..v1::Network::default()
        };
        check_refused(
            &interface("eth0", &[1]),
            "the Ethernet address of interface eth0",
        );
        check_refused(&interface("../eth0", &[0; 6]), "name \"../eth0\"");
        check_refused(&interface("", &[0; 6]), "name \"\"");
        Words::read(&interface("eth0.100", &[0; 6])).unwrap();
    }
}
