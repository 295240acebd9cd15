//! Specs that are left out whatever is asked for, and why.

/// Some specs, by parts of their text.
pub(super) struct LeftOut {
    specs: &'static [&'static str],
    of: Handlers,
    pub(super) why: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Handlers {
    All,
    Machines,
}

const LEFT_OUT: [LeftOut; 2] = [
    LeftOut {
        specs: &["public image with digest"],
        of: Handlers::All,
        why: "it names its image by a digest, whose bytes only a registry outside of the node has",
    },
    LeftOut {
        specs: &[
            "HostPID",
            "HostIpc is true",
            "HostNetwork is true",
            "in host network",
            "rshared",
        ],
        of: Handlers::Machines,
        why: "it asks for what a machine is there to prevent: sharing the node's processes, IPC, \
              network, or mounts in both directions",
    },
];

/// What is left out of `handler`'s specs.
pub(super) fn of_handler(handler: &str) -> Vec<&'static LeftOut> {
    let is_machine = handler.starts_with("kvm");
    let of_it = |left_out: &&LeftOut| left_out.of == Handlers::All || is_machine;
    LEFT_OUT.iter().filter(of_it).collect()
}

impl LeftOut {
    /// A regular expression that finds them.
    pub(super) fn pattern(&self) -> String {
        self.specs.join("|")
    }

    /// Whether the spec with this text is one of them.
    pub(super) fn has(&self, text: &str) -> bool {
        self.specs.iter().any(|part| text.contains(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_not_asked_for_the_namespaces_of_the_node() {
        let text = "[k8s.io] Security Context NamespaceOption runtime should support HostPID";
        let is_left_out = |handler| of_handler(handler).iter().any(|some| some.has(text));
        assert!(is_left_out("kvm") && is_left_out("kvm-legacy"));
        assert!(!is_left_out("") && !is_left_out("namespaced"));
    }

    #[test]
    fn patterns_mean_their_parts_literally() {
        let special = |pattern: String| pattern.contains(['.', '(', '[', '*', '+', '?', '\\', '^']);
        assert!(LEFT_OUT.iter().all(|some| !special(some.pattern())));
    }
}
