//! What plugins are told for an attachment, in which order.

use std::time::Duration;

use cni::Error;
use serde_json::json;

use crate::fake::{Fake, NETNS, attachment, id, words};

const VERSIONS: &[&str] = &["0.4.0", "1.0.0"];

#[tokio::test]
async fn plugins_run_in_order_and_backwards_with_the_result() {
    let fake = Fake::new(&["one", "two"], VERSIONS);
    let cni = fake.open().await;
    let added = cni.add(attachment("c1")).await.unwrap();
    let ips: Vec<String> = added
        .result
        .ips_of("eth0")
        .map(|ip| ip.to_string())
        .collect();
    assert_eq!(ips, ["10.0.0.2"]);
    assert_eq!(fake.request("two", "ADD")["prevResult"]["by"], "one");
    assert_eq!(fake.request("one", "ADD").get("prevResult"), None);
    assert_eq!(fake.request("one", "ADD")["own"], 1);

    cni.check(&id("c1")).await.unwrap();
    cni.del(attachment("c1")).await.unwrap();
    let calls = [
        "ADD one",
        "ADD two",
        "CHECK one",
        "CHECK two",
        "DEL two",
        "DEL one",
    ];
    assert_eq!(fake.calls(), calls);
    // Each gets the result of the last plugin.
    for (plugin, command) in [("one", "CHECK"), ("one", "DEL"), ("two", "DEL")] {
        let request = fake.request(plugin, command);
        assert_eq!(request["prevResult"]["by"], "two", "{plugin} {command}");
        assert_eq!(request["cniVersion"], "1.0.0");
    }
    assert!(fake.records().is_empty());
    assert!(cni.stats().iter().all(|(_, stats)| stats.failures == 0));
}

#[tokio::test]
async fn plugins_get_arguments_and_the_capabilities_that_they_declare_also_for_del() {
    let fake = Fake::new(&["one"], VERSIONS);
    let cni = fake.open().await;
    let mut told = attachment("c1");
    told.args.push("K8S_POD_NAME", "web").unwrap();
    told.args.push("IgnoreUnknown", "1").unwrap();
    told.capabilities
        .mac("c2:11:22:33:44:55")
        .cgroup_path("/pods/c1");
    told.capabilities
        .set("bandwidth", json!({"ingressRate": 1}));
    cni.add(told).await.unwrap();
    let expected = json!({"mac": "c2:11:22:33:44:55"});
    assert_eq!(fake.request("one", "ADD")["runtimeConfig"], expected);

    // Whoever asks for the DEL may not know any more.
    cni.del(attachment("c1")).await.unwrap();
    assert_eq!(fake.request("one", "DEL")["runtimeConfig"], expected);
    let call = format!("DEL one c1 eth0 {NETNS} K8S_POD_NAME=web;IgnoreUnknown=1");
    assert_eq!(fake.last_call(), call);
}

#[tokio::test]
async fn an_attachment_is_recorded_in_libcnis_format() {
    let fake = Fake::new(&["one"], VERSIONS);
    let cni = fake.open().await;
    cni.add(attachment("c1")).await.unwrap();
    let records = fake.records();
    let record = &records["net-c1-eth0"];
    assert_eq!(record["kind"], "cniCacheV1");
    assert_eq!(record["containerId"], "c1");
    assert_eq!(record["netns"], NETNS);
    assert_eq!(record["result"]["ips"][0]["address"], "10.0.0.2/24");
    assert_eq!(record["result"]["cniVersion"], "1.0.0");
    assert_eq!(cni.attachments().unwrap()[0].attachment.id, id("c1"));
}

#[tokio::test]
async fn time_of_plugins_is_told_from_our_own() {
    let fake = Fake::new(&["one"], VERSIONS);
    let cni = fake.open().await;
    fake.behave("one", "ADD", "sleep 1");
    let added = cni.add(attachment("c1")).await.unwrap();
    assert!(added.plugins >= Duration::from_secs(1), "{added:?}");
    assert!(added.took >= added.waited + added.plugins, "{added:?}");
}

#[tokio::test]
async fn an_attachment_is_undone_by_the_network_it_was_made_in() {
    let fake = Fake::new(&["one"], VERSIONS);
    fake.install("other", VERSIONS);
    let cni = fake.open().await;
    cni.add(attachment("c1")).await.unwrap();
    fake.configure("10-net.conflist", "renamed", &["other"], VERSIONS);
    fake.eventually("the new network is seen", || {
        cni.readiness().to_string().contains("renamed")
    })
    .await;
    cni.del(attachment("c1")).await.unwrap();
    assert_eq!(fake.calls(), ["ADD one", "DEL one"]);
    assert_eq!(fake.request("one", "DEL")["name"], "net");
}

#[tokio::test]
async fn a_namespace_that_is_gone_is_not_told() {
    let fake = Fake::new(&["one"], VERSIONS);
    let cni = fake.open().await;
    // A file where a namespace was mounted, as it is after a restart of the node.
    let lost = fake.path("netns");
    std::fs::write(&lost, "").unwrap();
    let mut attached = attachment("c1");
    attached.netns = lost;
    cni.add(attached.clone()).await.unwrap();
    cni.del(attached).await.unwrap();
    assert_eq!(fake.last_call(), "DEL one c1 eth0  ");
}

#[tokio::test]
async fn an_attachment_is_not_made_twice() {
    let fake = Fake::new(&["one"], VERSIONS);
    let cni = fake.open().await;
    cni.add(attachment("c1")).await.unwrap();
    let error = cni.add(attachment("c1")).await.unwrap_err();
    assert!(matches!(error, Error::Attached { .. }), "{}", words(&error));
    assert_eq!(fake.calls(), ["ADD one"]);
}

#[tokio::test]
async fn undoing_twice_or_what_was_never_made_is_no_mistake() {
    let fake = Fake::new(&["one"], VERSIONS);
    fake.behave("one", "DEL", "exit 1");
    let cni = fake.open().await;
    cni.del(attachment("c1")).await.unwrap();
    assert_eq!(fake.calls(), ["DEL one"]);
}

#[tokio::test]
async fn a_network_may_forbid_checks() {
    let fake = Fake::empty();
    fake.install("one", VERSIONS);
    let conf = r#"{"name": "net", "cniVersion": "1.0.0", "disableCheck": true,
                   "plugins": [{"type": "one"}]}"#;
    fake.write_conf("10-net.conflist", conf);
    let cni = fake.open().await;
    cni.add(attachment("c1")).await.unwrap();
    cni.check(&id("c1")).await.unwrap();
    assert!(cni.check(&id("c2")).await.is_err(), "it is not attached");
    assert_eq!(fake.calls(), ["ADD one"]);
}
