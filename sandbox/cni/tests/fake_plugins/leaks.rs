//! What a crash, another runtime or a lost container leaves behind.

use std::collections::BTreeSet;
use std::time::Duration;

use cni::{Cni, Config};
use serde_json::json;

use crate::fake::{Fake, LONG, attachment, id};

const VERSIONS: &[&str] = &["1.0.0", "1.1.0"];

/// A server that is killed while `plugin` is at its ADD of c1.
fn crash_during(fake: &Fake, plugin: &str) {
    fake.behave(plugin, "ADD", "sleep 600");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let reached = format!("ADD {plugin}");
    runtime.block_on(async {
        let cni = fake.open().await;
        tokio::spawn(async move { cni.add(attachment("c1")).await });
        fake.eventually("the plugin is reached", || fake.calls().contains(&reached))
            .await;
    });
    runtime.shutdown_background();
    fake.behave(plugin, "ADD", "");
    fake.forget_calls();
}

async fn gc(cni: &Cni, valid: &'static [&'static str]) -> cni::GcReport {
    let ids = move || {
        valid
            .iter()
            .map(|container| id(container))
            .collect::<BTreeSet<_>>()
    };
    cni.gc(ids).await.unwrap()
}

#[test]
fn an_add_that_a_crash_cut_off_is_undone_at_the_next_start() {
    let fake = Fake::new(&["one", "two"], &["1.0.0"]);
    crash_during(&fake, "two");
    assert_eq!(fake.records()["net-c1-eth0"].get("result"), None);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let report = gc(&fake.open().await, &[]).await;
        assert_eq!(report.undone, [id("c1")]);
    });
    assert_eq!(fake.calls(), ["DEL two", "DEL one"]);
    assert!(fake.records().is_empty());
}

#[test]
fn an_add_that_a_crash_cut_off_is_undone_before_it_is_made_again() {
    let fake = Fake::new(&["one"], &["1.0.0"]);
    crash_during(&fake, "one");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let cni = fake.open().await;
        cni.add(attachment("c1")).await.unwrap();
    });
    assert_eq!(fake.calls(), ["DEL one", "ADD one"]);
}

#[tokio::test]
async fn collection_undoes_what_is_ours_and_nobodys_and_asks_the_plugins() {
    let fake = Fake::new(&["one"], VERSIONS);
    let other = Config {
        owner: "other".into(),
        ..fake.config()
    };
    let (ours, others) = (fake.open().await, fake.open_with(other).await);
    for container in ["a", "b"] {
        ours.add(attachment(container)).await.unwrap();
    }
    others.add(attachment("z")).await.unwrap();
    fake.forget_calls();

    let report = gc(&ours, &["a", "coming"]).await;
    assert_eq!(report.undone, [id("b")]);
    assert!(report.left.is_empty() && report.failures.is_empty());
    let calls = fake.calls();
    let wanted: Vec<_> = calls
        .iter()
        .filter(|call| !call.starts_with("STATUS"))
        .collect();
    assert_eq!(wanted, ["DEL one", "GC one"]);
    let valid = json!([
        {"containerID": "a", "ifname": "eth0"},
        {"containerID": "coming", "ifname": "eth0"},
        {"containerID": "z", "ifname": "eth0"},
    ]);
    let request = fake.request("one", "GC");
    assert_eq!(request["cni.dev/valid-attachments"], valid);
    assert_eq!(request["cni.dev/attachments"], valid);
    assert_eq!(fake.records().len(), 2);
}

#[tokio::test]
async fn collection_goes_on_after_failures_and_reports_them() {
    let fake = Fake::new(&["one", "two"], VERSIONS);
    let cni = fake.open().await;
    for container in ["a", "b"] {
        cni.add(attachment(container)).await.unwrap();
    }
    fake.behave("one", "DEL", "[ $CNI_CONTAINERID = b ] || exit 1");
    fake.behave("one", "GC", "exit 1");
    fake.behave("two", "GC", "touch $PLACE/collected");
    let report = gc(&cni, &[]).await;
    assert_eq!(report.undone, [id("b")]);
    assert_eq!(report.left[0].0, id("a"));
    assert_eq!(report.failures.len(), 1);
    assert!(fake.path("collected").exists());
    assert_eq!(fake.records().len(), 1);
}

#[tokio::test]
async fn collection_does_not_run_beside_an_add() {
    let fake = Fake::new(&["one"], VERSIONS);
    fake.behave("one", "ADD", "touch $PLACE/adding; sleep 600");
    let config = Config {
        query_timeout: Duration::from_secs(3),
        add_timeout: LONG,
        ..fake.config()
    };
    let cni = fake.open_with(config).await;
    let add = tokio::spawn({
        let cni = cni.clone();
        async move { cni.add(attachment("a")).await }
    });
    fake.eventually("ADD runs", || fake.path("adding").exists())
        .await;
    assert!(cni.gc(BTreeSet::new).await.is_err());
    assert!(!fake.calls().contains(&"GC one".to_owned()));
    add.abort();
}

#[tokio::test]
async fn what_could_not_be_undone_after_a_failed_add_is_undone_later() {
    let fake = Fake::new(&["one"], &["1.0.0"]);
    fake.behave("one", "ADD", "exit 1");
    fake.behave("one", "DEL", "exit 1");
    let cni = fake.open().await;
    assert!(cni.add(attachment("a")).await.is_err());
    assert_eq!(fake.records().len(), 1);
    fake.behave("one", "DEL", "");
    fake.eventually("it is undone", || fake.records().is_empty())
        .await;
    assert_eq!(fake.calls(), ["ADD one", "DEL one", "DEL one"]);
}

#[tokio::test]
async fn what_is_abandoned_and_could_not_be_undone_is_undone_later() {
    let fake = Fake::new(&["one"], &["1.0.0"]);
    fake.behave("one", "DEL", "exit 1");
    let cni = fake.open().await;
    cni.add(attachment("a")).await.unwrap();
    cni.abandon(attachment("a")).await.unwrap();
    assert_eq!(fake.records().len(), 1);
    fake.behave("one", "DEL", "");
    fake.eventually("it is undone", || fake.records().is_empty())
        .await;
    assert_eq!(fake.calls(), ["ADD one", "DEL one", "DEL one"]);
}
