//! What a crash, another runtime or a lost container leaves behind.

use std::collections::BTreeSet;
use std::time::Duration;

use cni::{Cni, Config, Error};
use serde_json::json;

use crate::fake::{Fake, LONG, attachment, id, words};

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
    let report = gc(&cni, &["a"]).await;
    assert!(matches!(report.failures[..], [Error::Busy { .. }]));
    assert!(!fake.calls().contains(&"GC one".to_owned()));
    add.abort();
}

/// Sees to it that a DEL of `a` hangs, and an attachment to undo.
async fn with_a_del_that_hangs(fake: &Fake) -> Cni {
    fake.behave("one", "DEL", "[ $CNI_CONTAINERID != a ] || sleep 600");
    let cni = fake.open().await;
    cni.add(attachment("a")).await.unwrap();
    cni
}

#[tokio::test]
async fn a_leaked_attachment_whose_undoing_hangs_holds_up_nobody() {
    let fake = Fake::new(&["one"], VERSIONS);
    let cni = with_a_del_that_hangs(&fake).await;
    let collection = tokio::spawn({
        let cni = cni.clone();
        async move { cni.gc(BTreeSet::new).await }
    });
    fake.eventually("DEL runs", || fake.calls().contains(&"DEL one".to_owned()))
        .await;
    tokio::time::timeout(LONG / 2, async {
        cni.add(attachment("b")).await.unwrap();
        cni.del(attachment("b")).await.unwrap();
    })
    .await
    .unwrap();
    assert!(!collection.is_finished());
}

#[tokio::test]
async fn plugins_that_hang_in_their_collection_are_killed_all_in_one_time() {
    let fake = Fake::new(&["one", "two"], VERSIONS);
    for plugin in ["one", "two"] {
        fake.behave(plugin, "GC", "sleep 600");
    }
    let config = Config {
        query_timeout: Duration::from_secs(4),
        ..fake.config()
    };
    let cni = fake.open_with(config).await;
    let collection = tokio::spawn({
        let cni = cni.clone();
        async move { cni.gc(BTreeSet::new).await }
    });
    fake.eventually("GC runs", || fake.calls().contains(&"GC one".to_owned()))
        .await;
    // It waits for the collection, and no longer than that may take.
    cni.add(attachment("a")).await.unwrap();
    let report = collection.await.unwrap().unwrap();
    assert_eq!(report.failures.len(), 1);
    let said = words(&report.failures[0]);
    assert!(
        said.contains("CNI plugin one: GC: not done after"),
        "{said}"
    );
    assert!(!fake.calls().contains(&"GC two".to_owned()));
}

#[tokio::test]
async fn a_container_whose_add_comes_during_a_collection_is_valid_to_the_plugins() {
    let fake = Fake::new(&["one"], VERSIONS);
    let cni = fake.open().await;
    cni.add(attachment("a")).await.unwrap();
    // While this is undone, another one comes.
    fake.behave(
        "one",
        "DEL",
        "while ! [ -e $PLACE/come ]; do sleep 0.05; done",
    );
    let come = fake.path("come");
    let collection = tokio::spawn({
        let cni = cni.clone();
        let valid = move || match come.exists() {
            true => BTreeSet::from([id("b")]),
            false => BTreeSet::new(),
        };
        async move { cni.gc(valid).await }
    });
    fake.eventually("DEL runs", || fake.calls().contains(&"DEL one".to_owned()))
        .await;
    cni.add(attachment("b")).await.unwrap();
    std::fs::write(fake.path("come"), "").unwrap();
    assert_eq!(collection.await.unwrap().unwrap().undone, [id("a")]);
    let valid = &fake.request("one", "GC")["cni.dev/valid-attachments"];
    assert_eq!(*valid, json!([{"containerID": "b", "ifname": "eth0"}]));
}

/// Where the process is told the place of another's `Fake`.
const PLACE: &str = "CNI_TEST_PLACE_OF_ANOTHER";

/// In two processes: this one, and one that attaches and is killed meanwhile.
#[test]
fn a_plugin_that_outlives_its_process_is_killed_before_anything_is_undone() {
    if let Some(place) = std::env::var_os(PLACE) {
        return attach(&Fake::of_another_process(place.into()));
    }
    let fake = Fake::new(&["one"], &["1.0.0"]);
    // It waits for a child, as plugins do for those that give out addresses; neither cares for a broken pipe.
    let slow = "trap '' PIPE; (trap '' PIPE; sleep 600; touch $PLACE/late) & echo $! > $PLACE/child; \
                echo $$ > $PLACE/plugin; wait; touch $PLACE/late";
    fake.behave("one", "ADD", slow);
    let name = "leaks::a_plugin_that_outlives_its_process_is_killed_before_anything_is_undone";
    let mut killed = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(PLACE, fake.path(""))
        .spawn()
        .unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        fake.eventually("ADD runs", || fake.path("plugin").exists())
            .await;
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    for process in ["plugin", "child"] {
        assert!(fake.lives(process), "{process} outlives who started it");
    }
    // The command line of one that is dead and not waited for is empty.
    let living = "grep -q . /proc/$pid/cmdline && exit 1";
    let is_free = format!("for pid in $(cat $PLACE/plugin $PLACE/child); do {living}; done");
    fake.behave("one", "DEL", &is_free);
    runtime.block_on(async {
        let report = gc(&fake.open().await, &[]).await;
        assert_eq!(report.undone, [id("c1")], "{report:?}");
    });
    assert!(!fake.path("late").exists());
    let noted = std::fs::read_dir(fake.path("cache/.cni-running-test")).unwrap();
    assert_eq!(noted.count(), 0);
}

/// Until it is killed.
fn attach(fake: &Fake) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let added = runtime.block_on(async { fake.open().await.add(attachment("c1")).await });
    panic!("its plugin is to run for ever: {added:?}");
}

#[tokio::test]
async fn what_a_plugin_leaves_running_on_purpose_outlives_a_restart() {
    let fake = Fake::new(&["one"], &["1.0.0"]);
    fake.behave(
        "one",
        "ADD",
        "sleep 600 > /dev/null 2>&1 & echo $! > $PLACE/child",
    );
    let cni = fake.open().await;
    cni.add(attachment("c1")).await.unwrap();
    drop(cni);
    fake.open().await;
    assert!(fake.lives("child"));
    fake.kill("child");
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
async fn what_was_made_and_could_be_neither_recorded_nor_undone_is_undone_later() {
    let fake = Fake::new(&["one"], &["1.0.0"]);
    // In the way of the record with the result.
    let unfinished = "$PLACE/cache/.cni-unfinished-net-a-eth0";
    fake.behave("one", "ADD", &format!("mkdir {unfinished}"));
    fake.behave("one", "DEL", "exit 1");
    let cni = fake.open().await;
    let error = cni.add(attachment("a")).await.unwrap_err();
    assert!(matches!(error, Error::Record { .. }), "{}", words(&error));
    assert_eq!(fake.records()["net-a-eth0"].get("result"), None);
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
