//! What an ADD made: interfaces, addresses, routes, name servers.
//!
//! The plugin's JSON is kept beside what we read of it, because the next plugin, CHECK and DEL are
//! to get all of it, with keys that we don't know.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::cidr::Cidr;
use crate::version::SpecVersion;

/// The result of a network's last plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct AddResult {
    /// All interfaces that were made, those on the node included.
    pub interfaces: Vec<Interface>,
    /// Their addresses.
    pub ips: Vec<IpConfig>,
    /// Routes in the container.
    pub routes: Vec<Route>,
    /// What the network knows of name servers.
    pub dns: Dns,
    raw: Map<String, Value>,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Interface {
    /// Its name, where it is.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Its hardware address, as the plugin wrote it; may be empty.
    #[serde(deserialize_with = "or_default")]
    pub mac: String,
    /// Its MTU in bytes, from 1.1.0 on.
    pub mtu: Option<u32>,
    /// The network namespace that it is in; empty on the node.
    #[serde(deserialize_with = "or_default")]
    pub sandbox: String,
    /// A socket that belongs to it, such as vhost-user's, from 1.1.0 on.
    pub socket_path: Option<String>,
    /// The PCI device that it is, from 1.1.0 on.
    #[serde(rename = "pciID")]
    pub pci_id: Option<String>,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct IpConfig {
    /// The address, and the prefix of its network.
    pub address: Cidr,
    /// The network's gateway.
    #[serde(default, deserialize_with = "empty_is_none")]
    pub gateway: Option<IpAddr>,
    /// The interface that it belongs to, counted in [`AddResult::interfaces`].
    #[serde(default, deserialize_with = "negative_is_none")]
    pub interface: Option<usize>,
}

/// A route in the container.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Route {
    /// Where it leads.
    pub dst: Cidr,
    /// Over which neighbour. Without one: over the gateway of an address of this family.
    #[serde(default, deserialize_with = "empty_is_none")]
    pub gw: Option<IpAddr>,
    /// The MTU along it in bytes, from 1.1.0 on.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// The segment size to advertise in bytes, from 1.1.0 on.
    #[serde(default)]
    pub advmss: Option<u32>,
    /// Its priority, where lower is better, from 1.1.0 on.
    #[serde(default)]
    pub priority: Option<u32>,
    /// The routing table, from 1.1.0 on.
    #[serde(default)]
    pub table: Option<u32>,
    /// Its scope as in rtnetlink(7), from 1.1.0 on.
    #[serde(default)]
    pub scope: Option<u8>,
}

/// What a network knows of name servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses of servers, the best first.
    #[serde(deserialize_with = "or_default")]
    pub nameservers: Vec<String>,
    /// The domain for short names.
    #[serde(deserialize_with = "or_default")]
    pub domain: String,
    /// Domains to search in.
    #[serde(deserialize_with = "or_default")]
    pub search: Vec<String>,
    /// Options of the resolver.
    #[serde(deserialize_with = "or_default")]
    pub options: Vec<String>,
}

/// The part that all versions share.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    cni_version: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    interfaces: Vec<Interface>,
    #[serde(default, deserialize_with = "or_default")]
    ips: Vec<IpConfig>,
    #[serde(default, deserialize_with = "or_default")]
    routes: Vec<Route>,
    #[serde(default, deserialize_with = "or_default")]
    dns: Dns,
}

impl AddResult {
    /// Reads a result. One that does not say its version is of `version`, and `null` is an empty one.
    /// The error is what it is not.
    pub(crate) fn parse(json: Value, version: SpecVersion) -> Result<Self, String> {
        let raw = match json {
            Value::Null => Map::new(),
            Value::Object(raw) => raw,
            _ => return Err("a JSON object".into()),
        };
        let wire = Wire::deserialize(Value::Object(raw.clone()))
            .map_err(|error| format!("a CNI result ({error})"))?;
        if let Some(text) = wire.cni_version.as_deref().filter(|text| !text.is_empty()) {
            let said = text.parse::<SpecVersion>();
            if !said.is_ok_and(SpecVersion::is_spoken) {
                return Err("a result of a CNI version that we read".into());
            }
        }
        let count = wire.interfaces.len();
        if wire
            .ips
            .iter()
            .any(|ip| ip.interface.is_some_and(|index| index >= count))
        {
            return Err("a result whose addresses are on interfaces that it has".into());
        }
        let mut result = Self {
            interfaces: wire.interfaces,
            ips: wire.ips,
            routes: wire.routes,
            dns: wire.dns,
            raw,
        };
        result.raw = result.as_version(version);
        Ok(result)
    }

    /// The result in the words of `version`, with all keys that the plugin wrote.
    pub(crate) fn as_version(&self, version: SpecVersion) -> Map<String, Value> {
        let mut raw = self.raw.clone();
        raw.insert("cniVersion".into(), version.to_string().into());
        let written = raw.get_mut("ips").and_then(Value::as_array_mut);
        for (json, ip) in written.into_iter().flatten().zip(&self.ips) {
            let Some(json) = json.as_object_mut() else {
                continue;
            };
            if version < SpecVersion::V1_0_0 {
                let family = if ip.address.address().is_ipv4() {
                    "4"
                } else {
                    "6"
                };
                json.insert("version".into(), family.into());
            } else {
                json.remove("version");
            }
        }
        raw
    }

    /// The addresses of the interface `ifname` in the container. An address that names no
    /// interface counts as its own.
    pub fn ips_of(&self, ifname: &str) -> impl Iterator<Item = IpAddr> {
        let belongs = move |ip: &&IpConfig| match ip.interface {
            None => true,
            Some(index) => self
                .interfaces
                .get(index)
                .is_some_and(|interface| interface.name == ifname && !interface.sandbox.is_empty()),
        };
        self.ips
            .iter()
            .filter(belongs)
            .map(|ip| ip.address.address())
    }
}

/// Go writes an empty list as `null`.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Go reads an empty text as no address.
fn empty_is_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    match text.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

/// Plugins for 0.3.0 wrote -1 for no interface.
fn negative_is_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    let index: Option<i64> = Option::deserialize(deserializer)?;
    Ok(index.and_then(|index| usize::try_from(index).ok()))
}

#[cfg(test)]
mod tests;
