//! A network on a bridge of the test's own.

use serde_json::{Value, json};

use super::node::output;

/// The bridge that Debian's plugin makes, and leaves. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct Bridge {
    name: &'static str,
}

impl Bridge {
    /// There is none yet.
    pub(super) fn to_be(name: &'static str) -> Self {
        Self { name }
    }

    /// The configuration of the plugin, with addresses of `subnet` by `host-local`. Without rules: the
    /// plugin forgets to undo them where the pod's namespace is gone.
    pub(super) fn plugin(&self, subnet: &str) -> Value {
        let ipam = json!({"type": "host-local", "ranges": [[{"subnet": subnet}]]});
        json!({"type": "bridge", "bridge": self.name, "isGateway": true, "ipam": ipam})
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = output(&format!("ip link delete {}", self.name));
    }
}
