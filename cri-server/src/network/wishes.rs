//! What a pod wants of its network, checked and worded for plugins.

use std::net::IpAddr;

use cni::{Attachment, AttachmentId, Bandwidth, DnsConfig, Invalid, PortMapping, Protocol};
use cri_api::v1;
use sandbox::SandboxId;

use crate::error::{Error, Result};
use crate::pods::SavedPod;

/// The interface that plugins make in a pod.
pub(super) const INTERFACE: &str = "eth0";

/// What a pod wants of its network, beside addresses.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    ports: Vec<PortMapping>,
    bandwidth: Option<Bandwidth>,
    cgroup_parent: String,
}

impl Wishes {
    /// Checks what a pod wants.
    pub fn new(config: &v1::PodSandboxConfig, cgroup_parent: &str) -> Result<Self> {
        let bandwidth = Bandwidth::from_annotations(&config.annotations)
            .map_err(|invalid| Error::invalid(format!("annotations: {invalid}")))?;
        let wanted = config.port_mappings.iter();
        // The kubelet lists all ports of all containers; only those on the node are of interest.
        let on_node = wanted.filter(|mapping| mapping.host_port != 0);
        Ok(Self {
            ports: on_node.map(port_mapping).collect::<Result<_>>()?,
            bandwidth,
            cgroup_parent: cgroup_parent.to_owned(),
        })
    }

    /// What plugins are told of `pod`, whose namespace is at `namespace`.
    pub(super) fn attachment(
        &self,
        pod: &SavedPod,
        namespace: &str,
    ) -> std::result::Result<Attachment, Invalid> {
        let mut attachment = Attachment::new(id(&pod.id)?, namespace);
        for (key, value) in [
            ("IgnoreUnknown", "1"),
            ("K8S_POD_NAMESPACE", &pod.key.namespace),
            ("K8S_POD_NAME", &pod.key.name),
            ("K8S_POD_INFRA_CONTAINER_ID", &pod.id.0),
            ("K8S_POD_UID", &pod.key.uid),
        ] {
            attachment.args.push(key, value)?;
        }
        let capabilities = &mut attachment.capabilities;
        capabilities.port_mappings(&self.ports);
        if let Some(bandwidth) = &self.bandwidth {
            capabilities.bandwidth(bandwidth);
        }
        if let Some(dns) = &pod.dns {
            capabilities.dns(&DnsConfig {
                servers: dns.servers.clone(),
                searches: dns.searches.clone(),
                options: dns.options.clone(),
            });
        }
        capabilities.pod_annotations(&pod.annotations);
        if !self.cgroup_parent.is_empty() {
            capabilities.cgroup_path(&self.cgroup_parent);
        }
        Ok(attachment)
    }
}

/// What the attachment of a pod is called.
pub(super) fn id(pod: &SandboxId) -> std::result::Result<AttachmentId, Invalid> {
    AttachmentId::new(&pod.0, INTERFACE)
}

fn port_mapping(mapping: &v1::PortMapping) -> Result<PortMapping> {
    let port = |port: i32| {
        u16::try_from(port)
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| Error::invalid(format!("port_mappings: {port} is not a port")))
    };
    let host_ip = match mapping.host_ip.as_str() {
        "" => None,
        text => Some(text.parse::<IpAddr>().map_err(|_| {
            Error::invalid(format!("port_mappings: host_ip {text:?} is not an address"))
        })?),
    };
    let protocol = match v1::Protocol::try_from(mapping.protocol) {
        Ok(v1::Protocol::Tcp) => Protocol::Tcp,
        Ok(v1::Protocol::Udp) => Protocol::Udp,
        Ok(v1::Protocol::Sctp) => Protocol::Sctp,
        Err(_) => {
            let message = format!("port_mappings: protocol {} is unknown", mapping.protocol);
            return Err(Error::invalid(message));
        }
    };
    Ok(PortMapping {
        host_port: port(mapping.host_port)?,
        container_port: port(mapping.container_port)?,
        protocol,
        host_ip,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(host_port: i32, container_port: i32, host_ip: &str) -> v1::PodSandboxConfig {
        v1::PodSandboxConfig {
            port_mappings: vec![v1::PortMapping {
                protocol: v1::Protocol::Udp.into(),
                container_port,
                host_port,
                host_ip: host_ip.into(),
            }],
            ..Default::default()
        }
    }

    #[test]
    fn ports_that_are_not_on_the_node_are_left_out() {
        let wishes = Wishes::new(&config(0, 80, ""), "").unwrap();
        assert_eq!(wishes.ports, []);
        let wishes = Wishes::new(&config(8080, 80, "::1"), "").unwrap();
        let expected = PortMapping {
            host_port: 8080,
            container_port: 80,
            protocol: Protocol::Udp,
            host_ip: Some("::1".parse().unwrap()),
        };
        assert_eq!(wishes.ports, [expected]);
    }

    #[test]
    fn what_no_plugin_could_do_is_refused_by_name() {
        for (config, word) in [
            (config(65536, 80, ""), "65536"),
            (config(80, -1, ""), "-1"),
            (config(80, 80, "here"), "here"),
        ] {
            let refused = Wishes::new(&config, "").unwrap_err();
            assert!(refused.to_string().contains(word), "{refused}");
        }
        let mut much = v1::PodSandboxConfig::default();
        let key = "kubernetes.io/ingress-bandwidth";
        much.annotations.insert(key.into(), "fast".into());
        assert!(
            Wishes::new(&much, "")
                .unwrap_err()
                .to_string()
                .contains("fast")
        );
    }
}
