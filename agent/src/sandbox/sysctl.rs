//! Kernel parameters of a pod: which may be set, and where they are.

use std::collections::BTreeMap;

use agent_api::v1;

use super::Sysctls;
use crate::Error;
use crate::mode::Mode;

/// The request's sysctls by their paths below /proc/sys.
///
/// On the host only those that belong to a namespace of the pod: any other would change the node. A
/// guest is the pod's alone.
pub(super) fn paths(
    mode: Mode,
    request: &v1::ConfigureSandboxRequest,
) -> Result<BTreeMap<String, String>, Error> {
    let sysctls: &Sysctls = &request.sysctls;
    sysctls
        .iter()
        .map(|(name, value)| {
            let path = path(name)
                .ok_or_else(|| Error::Invalid(format!("{name:?} is no name of a sysctl")))?;
            if mode == Mode::Host {
                belongs_to_pod(&path, request).map_err(|whose| {
                    Error::Invalid(format!("sysctl {name} is {whose}, not the pod's"))
                })?;
            }
            Ok((path, value.clone()))
        })
        .collect()
}

/// As sysctl(8) reads names: dots separate and slashes are literal dots, or the other way round if a
/// slash comes first.
fn path(name: &str) -> Option<String> {
    let first = name.find(['.', '/']).and_then(|at| name.as_bytes().get(at));
    let path = match first {
        Some(b'/') => name.to_owned(),
        _ => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
    };
    let fine = path.contains('/')
        && !path.contains('\0')
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    fine.then_some(path)
}

/// Or whose it is instead.
fn belongs_to_pod(path: &str, request: &v1::ConfigureSandboxRequest) -> Result<(), &'static str> {
    let ipc = ["kernel/shm", "kernel/msg", "fs/mqueue/"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
        || path == "kernel/sem";
    match (path.starts_with("net/"), ipc) {
        (true, _) if request.network_namespace.is_empty() => Err("the host network's"),
        (_, true) if request.host_ipc => Err("the host IPC namespace's"),
        (true, _) | (_, true) => Ok(()),
        _ => Err("the node's"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: &str) -> v1::ConfigureSandboxRequest {
        v1::ConfigureSandboxRequest {
            sysctls: [(name.to_owned(), "1".to_owned())].into(),
            network_namespace: "/run/netns/x".into(),
            ..v1::ConfigureSandboxRequest::default()
        }
    }

    #[track_caller]
    fn check(name: &str, expected: &str) {
        let paths = paths(Mode::Host, &request(name)).unwrap();
        assert_eq!(paths.keys().collect::<Vec<_>>(), [expected]);
    }

    #[track_caller]
    fn check_refused(request: &v1::ConfigureSandboxRequest, expected: &str) {
        assert_eq!(
            paths(Mode::Host, request).unwrap_err().to_string(),
            expected
        );
    }

    #[test]
    fn names_are_read_as_sysctl_reads_them() {
        check("kernel.shm_rmid_forced", "kernel/shm_rmid_forced");
        check("fs.mqueue.msg_max", "fs/mqueue/msg_max");
        check(
            "net.ipv4.conf.eth0/100.forwarding",
            "net/ipv4/conf/eth0.100/forwarding",
        );
        check(
            "net/ipv4/conf/eth0.100/forwarding",
            "net/ipv4/conf/eth0.100/forwarding",
        );
    }

    #[test]
    fn the_node_is_not_touched() {
        check_refused(
            &request("vm.swappiness"),
            "sysctl vm.swappiness is the node's, not the pod's",
        );
        check_refused(
            &request("kernel.panic"),
            "sysctl kernel.panic is the node's, not the pod's",
        );
        let mut shared = request("net.core.somaxconn");
        shared.network_namespace.clear();
        check_refused(
            &shared,
            "sysctl net.core.somaxconn is the host network's, not the pod's",
        );
        let mut shared = request("kernel.sem");
        shared.host_ipc = true;
        check_refused(
            &shared,
            "sysctl kernel.sem is the host IPC namespace's, not the pod's",
        );
    }

    #[test]
    fn paths_that_lead_elsewhere_are_no_names() {
        for name in ["", "x", "net..x", "net/../vm/x", "/etc/passwd", "net.//"] {
            assert!(paths(Mode::Guest, &request(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn a_guest_is_the_pods_alone() {
        assert!(paths(Mode::Guest, &request("vm.swappiness")).is_ok());
    }
}
