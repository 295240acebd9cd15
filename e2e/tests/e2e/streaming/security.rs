//! An exec'd process may do what its container may, and no more.

use anyhow::Result;
use e2e::runtime::{Runtime, Streams, container_config};
use k8s_cri::v1::security_profile::ProfileType;
use k8s_cri::v1::{Capability, ContainerConfig, Int64Value, SecurityProfile};

use super::PATIENCE;
use super::client::Client;

/// The lines of /proc/<pid>/status that say what a process may do.
const STATUS: &str = "grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp):' /proc/$WHO/status";

/// The bit of `CAP_CHOWN`, which every container has that is not told otherwise.
const CHOWN: u64 = 1;
/// The bit of `CAP_NET_ADMIN`, which none has.
const NET_ADMIN: u64 = 1 << 12;

under_every_handler!(an_execd_process_is_as_restricted_as_the_first);

async fn an_execd_process_is_as_restricted_as_the_first(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.shared_pod(handler).await?;
    let mut container = pod.start(&restricted()).await?;
    for streams in [Streams::Output, Streams::Terminal] {
        let mut said = Vec::new();
        for who in ["1", "self"] {
            let script = STATUS.replace("$WHO", who);
            let url = container.exec_url(&["sh", "-c", &script], streams).await?;
            let output = Client::connect(&url).await?.finish().await?.stdout;
            said.push(String::from_utf8_lossy(&output).replace('\r', ""));
        }
        let [first, execd] = [&said[0], &said[1]];
        assert_eq!(execd, first, "{streams:?}");
        check(execd);
    }
    let cgroup = container.output(&["cat", "/proc/self/cgroup"]).await?;
    let inside = cgroup.starts_with("0::/") && !cgroup.contains("..");
    assert!(inside, "in the container's cgroup or below: {cgroup}");
    pod.clear().await
}

fn restricted() -> ContainerConfig {
    let mut config = container_config("c", &["sleep", "1000"]);
    let linux = config.linux.as_mut().expect("it is for Linux");
    let security = linux.security_context.as_mut().expect("it has one");
    security.run_as_user = Some(Int64Value { value: 1234 });
    security.run_as_group = Some(Int64Value { value: 2345 });
    security.supplemental_groups = vec![3456];
    security.no_new_privs = true;
    security.seccomp = Some(SecurityProfile {
        profile_type: ProfileType::RuntimeDefault.into(),
        ..Default::default()
    });
    security.capabilities = Some(Capability {
        add_capabilities: vec!["NET_ADMIN".into()],
        drop_capabilities: vec!["CHOWN".into()],
        ..Default::default()
    });
    config
}

#[track_caller]
fn check(status: &str) {
    let words = |key: &str| -> Vec<&str> {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_default().split_whitespace().collect()
    };
    assert_eq!(words("Uid:"), ["1234"; 4], "{status}");
    assert_eq!(words("Gid:"), ["2345"; 4], "{status}");
    assert!(words("Groups:").contains(&"3456"), "{status}");
    assert_eq!(words("NoNewPrivs:"), ["1"], "{status}");
    assert_eq!(words("Seccomp:"), ["2"], "{status}");
    let bounding = u64::from_str_radix(words("CapBnd:").concat().as_str(), 16);
    let bounding = bounding.expect("a number in hexadecimal");
    assert_eq!(bounding & (CHOWN | NET_ADMIN), NET_ADMIN, "{status}");
    // A user without root's rights has none of them in hand.
    let effective = words("CapEff:").concat();
    assert_eq!(effective.trim_start_matches('0'), "", "{status}");
}
