//! What plugins made of a pod's interfaces, as the pod sees it, and what the kubelet said of its names.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::runtime::{Runtime, pod_config};
use k8s_cri::v1::{DnsConfig, NetworkUsage, PodSandboxConfig, PodSandboxStatsRequest, UInt64Value};
use serde_json::{Value, json};

use super::bridge::Bridge;
use super::conflist::Conflist;
use super::node::{self, output};
use super::outside::{CABLE, Outside};
use super::plugin::Plugin;
use super::web::Web;

const PATIENCE: Duration = Duration::from_secs(30);

under_every_handler!(
    a_routed_pod_has_the_mtu_the_address_and_the_words_it_was_given,
    a_pod_has_a_second_interface,
);

const MAC: &str = "c2:b0:57:49:47:f1";

/// A chain of all kinds: an interface with an IPAM plugin, and three that change it afterwards.
fn routed() -> [Value; 4] {
    let ranges = json!([[{"subnet": "10.91.0.0/24"}], [{"subnet": "fd00:91::/64"}]]);
    let routes = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
    let ipam = json!({"type": "host-local", "ranges": ranges, "routes": routes});
    [
        json!({"type": "ptp", "mtu": 9000, "ipMasq": true, "ipam": ipam}),
        json!({"type": "tuning", "mac": MAC}),
        json!({"type": "firewall", "backend": "iptables"}),
        json!({"type": "bandwidth", "capabilities": {"bandwidth": true}}),
    ]
}

async fn a_routed_pod_has_the_mtu_the_address_and_the_words_it_was_given(
    handler: &str,
) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let conflist = Conflist::install(&mut runtime, "routed", &routed()).await?;
    let mut web = Web::run(&mut runtime, handler, &with_words()?).await?;
    conflist.remove(&mut runtime).await?;

    let facts = "cd /sys/class/net/eth0; cat mtu address; hostname; cat /etc/resolv.conf; \
                 cat /proc/sys/net/ipv4/ip_unprivileged_port_start; cat /proc/sys/kernel/msgmax; cat /etc/hostname";
    let facts = web.container.output(&["sh", "-c", facts]).await?;
    let expected = format!(
        "9000\n{MAC}\nrouted\nnameserver 10.10.10.10\nsearch example.com\noptions ndots:8\n512\n4096\nrouted\n"
    );
    assert_eq!(in_order(&facts), in_order(&expected));

    assert_eq!(web.ips.len(), 2, "{:?}", web.ips);
    for ip in web.ips.clone() {
        assert_eq!(node::get((ip, 80)).await?, web.page(), "{ip}");
        let segment = segment_to(&node::host(&ip), (ip, 80)).await?;
        assert!((8_900..9_000).contains(&segment), "{ip}: {segment} bytes");
    }
    let rules = || output("iptables-save");
    let ip = web.ip()?.to_string();
    assert!(rules()?.contains(&ip), "the firewall knows {ip}");
    web.pod.finish().await?;
    assert!(!rules()?.contains(&ip), "the firewall forgets {ip}");
    Ok(())
}

/// resolv.conf has no order of lines.
fn in_order(lines: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    lines
}

fn with_words() -> Result<PodSandboxConfig> {
    let mut config = pod_config("routed");
    config.dns_config = Some(DnsConfig {
        servers: vec!["10.10.10.10".into()],
        searches: vec!["example.com".into()],
        options: vec!["ndots:8".into()],
    });
    let linux = config.linux.as_mut().context("linux")?;
    for (sysctl, value) in [
        ("net.ipv4.ip_unprivileged_port_start", "512"),
        ("kernel.msgmax", "4096"),
    ] {
        linux.sysctls.insert(sysctl.into(), value.into());
    }
    Ok(config)
}

/// The largest segment that the pod wants, as the node's kernel heard it.
async fn segment_to(host: &str, address: impl Into<std::net::SocketAddr>) -> Result<u32> {
    let connection = tokio::net::TcpStream::connect(address.into()).await?;
    let told = output(&format!("ss --tcp --info --no-header dst {host}"))?;
    drop(connection);
    let size = told
        .split_whitespace()
        .find_map(|word| word.strip_prefix("mss:"));
    Ok(size
        .with_context(|| format!("a size in {told:?}"))?
        .parse()?)
}

/// Delegates to two plugins, as meta plugins do that give pods more than one network.
const BOTH: &str = r#"#!/bin/sh
conf=$(cat)
delegate() {
  echo "$conf" | jq -c ".$2 + {cniVersion, name: (.name + \"-$2\")}" | CNI_IFNAME=$1 "/usr/lib/cni/$3"
}
case $CNI_COMMAND in
VERSION) exec /usr/lib/cni/bridge ;;
ADD)
  first=$(delegate eth0 first bridge) || { echo "$first"; exit 1; }
  second=$(delegate net1 second macvlan) || { echo "$second"; exit 1; }
  echo "$first" ;;
DEL) delegate net1 second macvlan && delegate eth0 first bridge ;;
esac
"#;

fn two_networks(bridge: &Bridge) -> Value {
    let range = json!({"subnet": "192.0.2.0/24", "rangeStart": SECOND, "rangeEnd": SECOND});
    let ipam = json!({"type": "host-local", "ranges": [[range]]});
    json!({
        "type": "e2e-both",
        "first": bridge.plugin("10.92.0.0/24"),
        "second": {"type": "macvlan", "master": CABLE, "ipam": ipam},
    })
}

const SECOND: &str = "192.0.2.77";

async fn a_pod_has_a_second_interface(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let outside = Outside::connect()?;
    let bridge = Bridge::to_be("e2e0");
    let _plugin = Plugin::install("e2e-both", BOTH)?;
    let plugins = [two_networks(&bridge)];
    let conflist = Conflist::install(&mut runtime, "two", &plugins).await?;
    let mut web = Web::run(&mut runtime, handler, &pod_config("two")).await?;

    assert_eq!(web.ips.len(), 1, "the main network's: {:?}", web.ips);
    let shown = web.container.output(&["ip", "address", "show", "net1"]);
    assert!(shown.await?.contains(&format!(" {SECOND}/24 ")));
    // The second interface is on the cable itself: none of this passes the node's own addresses.
    assert_eq!(outside.get(SECOND, 80)?, web.page());
    let ping = ["ping", "-c", "1", "-W", "20", "192.0.2.2"];
    web.container.output(&ping).await?;
    let usage = usage(&mut runtime, &web).await?;
    let main = usage.default_interface.context("the main interface")?;
    for interface in [&main].into_iter().chain(&usage.interfaces) {
        let bytes = |count: &Option<UInt64Value>| count.as_ref().map(|count| count.value);
        let (received, sent) = (bytes(&interface.rx_bytes), bytes(&interface.tx_bytes));
        assert!(received > Some(200) && sent > Some(200), "{interface:?}");
    }
    let others = usage.interfaces.iter().map(|interface| &interface.name);
    assert_eq!(main.name, "eth0");
    assert_eq!(others.collect::<Vec<_>>(), ["net1"]);

    web.pod.finish().await?;
    conflist.remove(&mut runtime).await
}

async fn usage(runtime: &mut Runtime, web: &Web) -> Result<NetworkUsage> {
    let request = PodSandboxStatsRequest {
        pod_sandbox_id: web.pod.id.clone(),
    };
    let stats = runtime.runtime.pod_sandbox_stats(request).await?;
    let stats = stats.into_inner().stats.context("stats")?;
    let linux = stats.linux.context("of Linux")?;
    linux.network.context("of a network")
}
