//! The pod CIDR that the kubelet tells, and the network that is made of it.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use cri_api::v1::*;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::node::{ConnectedBy, Node};

/// Far more than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// As clusters write it for other runtimes.
const TEMPLATE: &str = r#"{"cniVersion": "1.0.0", "name": "podnet", "plugins": [{"type": "quiet",
  "first": "{{.PodCIDR}}",
  "ranges": [{{range $i, $range := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet": "{{$range}}"}]{{end}}],
  "routes": [{{range $i, $route := .Routes}}{{if $i}}, {{end}}{"dst": "{{$route}}"}{{end}}]}]}"#;

/// A node whose plugin only tells its version.
async fn node(connected: ConnectedBy) -> Node {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("bin")).unwrap();
    let plugin = directory.path().join("bin/quiet");
    let versions = r#"{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}"#;
    std::fs::write(&plugin, format!("#!/bin/sh\necho '{versions}'\n")).unwrap();
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(directory.path().join("template"), TEMPLATE).unwrap();
    Node::start_in(directory, connected).await
}

async fn tell(node: &mut Node, pod_cidr: &str) -> Result<(), Status> {
    let network_config = Some(NetworkConfig {
        pod_cidr: pod_cidr.into(),
    });
    let request = UpdateRuntimeConfigRequest {
        runtime_config: Some(RuntimeConfig { network_config }),
    };
    let answer = node.runtime.update_runtime_config(request).await;
    answer.map(drop)
}

/// The configuration that was made of the template.
fn written(node: &Node) -> Value {
    let text = std::fs::read(node.path("net.d/10-bulkhead.conflist")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

async fn network_condition(node: &mut Node) -> RuntimeCondition {
    let request = StatusRequest::default();
    let status = node.runtime.status(request).await.unwrap().into_inner();
    let conditions = status.status.unwrap().conditions;
    let of_network = conditions.into_iter().find(|c| c.r#type == "NetworkReady");
    of_network.unwrap()
}

/// Waits until the network is ready: directories are watched, not asked.
async fn becomes_ready(node: &mut Node) -> RuntimeCondition {
    let begun = Instant::now();
    loop {
        let condition = network_condition(node).await;
        if condition.status {
            return condition;
        }
        assert!(begun.elapsed() < PATIENCE, "{condition:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_pod_cidr_becomes_the_network_of_the_node() {
    let mut node = node(ConnectedBy::Template).await;
    let before = network_condition(&mut node).await;
    assert!(!before.status, "{before:?}");
    assert_eq!(before.reason, "NetworkPluginNotReady");
    let without = "no network configuration in ";
    assert!(before.message.starts_with(without), "{before:?}");

    tell(&mut node, "10.1.0.0/24").await.unwrap();
    let plugin = &written(&node)["plugins"][0];
    assert_eq!(plugin["first"], "10.1.0.0/24");
    assert_eq!(plugin["ranges"], json!([[{"subnet": "10.1.0.0/24"}]]));
    let after = becomes_ready(&mut node).await;
    let network = "network podnet of /";
    assert!(after.message.starts_with(network), "{after:?}");

    // Of a node that got another one, or one more; also by a server that never saw the first.
    node.restart_server().await;
    tell(&mut node, "10.2.0.0/24,fd00:2::/64").await.unwrap();
    let plugin = &written(&node)["plugins"][0];
    assert_eq!(plugin["first"], "10.2.0.0/24");
    let both = json!([[{"subnet": "10.2.0.0/24"}], [{"subnet": "fd00:2::/64"}]]);
    assert_eq!(plugin["ranges"], both);
    let routes = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
    assert_eq!(plugin["routes"], routes);
    becomes_ready(&mut node).await;
}

#[tokio::test]
async fn what_is_no_pod_cidr_is_refused_and_writes_nothing() {
    let mut node = node(ConnectedBy::Template).await;
    for (told, named) in [
        ("10.1.0.0", "10.1.0.0"),
        ("10.1.0.0/33", "10.1.0.0/33"),
        ("10.1.0.0/24,podnet", "podnet"),
        // Not a way to write more into the configuration than an address.
        ("10.1.0.0/24\"}]], \"x\": [[{\"y\": \"", "10.1.0.0/24"),
    ] {
        let refused = tell(&mut node, told).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        let words = refused.message();
        assert!(
            words.starts_with("use the pod CIDR of the kubelet: "),
            "{words}"
        );
        assert!(words.contains(named), "{words}");
    }
    assert_eq!(node.names("net.d"), [""; 0]);
    assert!(!network_condition(&mut node).await.status);
}

#[tokio::test]
async fn a_template_that_makes_no_network_is_named_and_writes_nothing() {
    let mut node = node(ConnectedBy::Template).await;
    let template = node.path("template");
    for (text, words) in [
        ("{\"name\": \n{{.Nodes}}}", "line 2"),
        ("{\"name\": \"podnet\"}", "cniVersion"),
    ] {
        std::fs::write(&template, text).unwrap();
        let failed = tell(&mut node, "10.1.0.0/24").await.unwrap_err();
        assert_eq!(failed.code(), Code::Internal, "{failed:?}");
        for word in [template.to_str().unwrap(), words] {
            assert!(failed.message().contains(word), "{word}: {failed:?}");
        }
    }
    std::fs::remove_file(&template).unwrap();
    let failed = tell(&mut node, "10.1.0.0/24").await.unwrap_err();
    assert!(failed.message().contains("No such file"), "{failed:?}");
    assert_eq!(node.names("net.d"), [""; 0]);
}

#[tokio::test]
async fn without_a_template_or_a_cidr_something_else_brings_the_network() {
    for (connected, told) in [
        (ConnectedBy::Plugins, "10.1.0.0/24"),
        (ConnectedBy::Template, ""),
        (ConnectedBy::Nobody, "10.1.0.0/24"),
    ] {
        let mut node = node(connected).await;
        tell(&mut node, told).await.unwrap();
        let nothing = UpdateRuntimeConfigRequest::default();
        node.runtime.update_runtime_config(nothing).await.unwrap();
        assert_eq!(node.names("net.d"), [""; 0], "{connected:?}");
    }
}

#[tokio::test]
async fn a_network_that_something_else_brought_is_left_alone() {
    let mut node = node(ConnectedBy::Template).await;
    let other = r#"{"cniVersion": "1.0.0", "name": "other", "plugins": [{"type": "quiet"}]}"#;
    std::fs::create_dir_all(node.path("net.d")).unwrap();
    std::fs::write(node.path("net.d/50-other.conflist"), other).unwrap();
    tell(&mut node, "10.1.0.0/24").await.unwrap();
    assert_eq!(node.names("net.d"), ["50-other.conflist"]);
    let ready = becomes_ready(&mut node).await;
    assert!(ready.message.starts_with("network other of /"), "{ready:?}");
}
