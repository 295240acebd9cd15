//! What is not part of the pod network: a network namespace behind a cable of its own.

use anyhow::Result;

use super::node::output;

/// The node's end of the cable.
pub(super) const CABLE: &str = "outside0";
/// The node's addresses there.
pub(super) const NODE: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
const NAMESPACE: &str = "e2e-outside";

/// The other end. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct Outside;

impl Outside {
    /// A machine elsewhere, whose router is the node.
    pub(super) fn connect() -> Result<Self> {
        let outside = Self;
        output(&format!("ip netns add {NAMESPACE}"))?;
        output(&format!(
            "ip link add {CABLE} type veth peer name eth0 netns {NAMESPACE}"
        ))?;
        let [v4, v6] = NODE;
        output(&format!("ip address add {v4}/24 dev {CABLE}"))?;
        output(&format!("ip address add {v6}/64 dev {CABLE} nodad"))?;
        output(&format!("ip link set {CABLE} up"))?;
        outside.run("ip link set lo up")?;
        outside.run("ip address add 192.0.2.2/24 dev eth0")?;
        outside.run("ip address add 2001:db8::2/64 dev eth0 nodad")?;
        outside.run("ip link set eth0 up")?;
        outside.run(&format!("ip route add default via {v4}"))?;
        outside.run(&format!("ip route add default via {v6}"))?;
        Ok(outside)
    }

    /// What a command prints there; it must succeed.
    pub(super) fn run(&self, command: &str) -> Result<String> {
        output(&format!("ip netns exec {NAMESPACE} {command}"))
    }

    /// The page at `http://address:port/`, as a client there gets it.
    pub(super) fn get(&self, address: &str, port: u16) -> Result<String> {
        let host = match address.contains(':') {
            true => format!("[{address}]"),
            false => address.to_owned(),
        };
        self.run(&format!(
            "curl --silent --show-error --max-time 30 --globoff http://{host}:{port}/"
        ))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = output(&format!("ip link delete {CABLE}"));
        let _ = output(&format!("ip netns delete {NAMESPACE}"));
    }
}
