//! Capability arguments: what a runtime decides per container, for the plugins that can use it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use serde_json::{Map, Value, json};

pub use bandwidth::Bandwidth;

mod bandwidth;

/// What plugins get in `runtimeConfig`, by the names of CNI's conventions. A plugin gets only what
/// its configuration declares in `capabilities`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CapabilityArgs {
    args: Map<String, Value>,
}

/// A port of the node that leads to a port of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// On the node.
    pub host_port: u16,
    /// In the container.
    pub container_port: u16,
    /// Over which protocol.
    pub protocol: Protocol,
    /// Only on this address of the node.
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// How a container resolves names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DnsConfig {
    /// Addresses of servers.
    pub servers: Vec<String>,
    /// Domains to search in.
    pub searches: Vec<String>,
    /// Options of the resolver, as in resolv.conf(5).
    pub options: Vec<String>,
}

/// A pool of addresses, as the `ranges` of the `host-local` plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IpRange {
    /// The subnet, in CIDR notation.
    pub subnet: String,
    /// The first address to give.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_start: Option<IpAddr>,
    /// The last address to give.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_end: Option<IpAddr>,
    /// The gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

impl CapabilityArgs {
    /// `portMappings`. An empty list is not told, because some plugins set up rules even then.
    pub fn port_mappings(&mut self, mappings: &[PortMapping]) -> &mut Self {
        match mappings {
            [] => self,
            mappings => self.set("portMappings", json!(mappings)),
        }
    }

    /// `bandwidth`.
    pub fn bandwidth(&mut self, bandwidth: &Bandwidth) -> &mut Self {
        self.set("bandwidth", json!(bandwidth))
    }

    /// `dns`.
    pub fn dns(&mut self, dns: &DnsConfig) -> &mut Self {
        self.set("dns", json!(dns))
    }

    /// `ipRanges`: one list of pools for each address to give.
    pub fn ip_ranges(&mut self, ranges: &[Vec<IpRange>]) -> &mut Self {
        self.set("ipRanges", json!(ranges))
    }

    /// `io.kubernetes.cri.pod-annotations`.
    pub fn pod_annotations(&mut self, annotations: &BTreeMap<String, String>) -> &mut Self {
        self.set("io.kubernetes.cri.pod-annotations", json!(annotations))
    }

    /// `cgroupPath`.
    pub fn cgroup_path(&mut self, path: &str) -> &mut Self {
        self.set("cgroupPath", json!(path))
    }

    /// `mac`: the hardware address that the interface is to have.
    pub fn mac(&mut self, mac: &str) -> &mut Self {
        self.set("mac", json!(mac))
    }

    /// `ips`: the addresses that the interface is to have, with or without a prefix length.
    pub fn ips(&mut self, ips: &[String]) -> &mut Self {
        self.set("ips", json!(ips))
    }

    /// Any other capability.
    pub fn set(&mut self, name: &str, value: Value) -> &mut Self {
        self.args.insert(name.to_owned(), value);
        self
    }

    /// Those that a plugin with these capabilities gets.
    pub(crate) fn only<'a>(&self, declared: impl Iterator<Item = &'a str>) -> Map<String, Value> {
        declared
            .filter_map(|name| Some((name.to_owned(), self.args.get(name)?.clone())))
            .collect()
    }

    pub(crate) fn as_map(&self) -> &Map<String, Value> {
        &self.args
    }
}

impl From<Map<String, Value>> for CapabilityArgs {
    fn from(args: Map<String, Value>) -> Self {
        Self { args }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_have_the_form_of_the_conventions() {
        let mut args = CapabilityArgs::default();
        let web = PortMapping {
            host_port: 8080,
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip: Some(IpAddr::from([127, 0, 0, 1])),
        };
        let range = IpRange {
            subnet: "10.1.2.0/24".into(),
            range_start: Some(IpAddr::from([10, 1, 2, 3])),
            range_end: None,
            gateway: None,
        };
        args.port_mappings(&[web]).ip_ranges(&[vec![range]]);
        args.dns(&DnsConfig::default()).mac("c2:11:22:33:44:55");
        let expected = json!({
            "portMappings":
                [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"}],
            "ipRanges": [[{"subnet": "10.1.2.0/24", "rangeStart": "10.1.2.3"}]],
            "dns": {"servers": [], "searches": [], "options": []},
            "mac": "c2:11:22:33:44:55",
        });
        assert_eq!(Value::Object(args.as_map().clone()), expected);
    }

    #[test]
    fn a_plugin_gets_only_what_it_declares() {
        let mut args = CapabilityArgs::default();
        args.mac("c2:11:22:33:44:55").cgroup_path("/pods/a");
        let told = args.only(["mac", "bandwidth"].into_iter());
        assert_eq!(Value::Object(told), json!({"mac": "c2:11:22:33:44:55"}));
        assert!(
            CapabilityArgs::default()
                .port_mappings(&[])
                .as_map()
                .is_empty()
        );
    }
}
