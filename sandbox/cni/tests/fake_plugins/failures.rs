//! Plugins that fail, hang and lie.

use std::time::Duration;

use cni::{Config, Error, Kind};

use crate::fake::{Fake, LONG, attachment, words};

const VERSIONS: &[&str] = &["1.0.0"];

/// An ADD in a network of three plugins, of which the second behaves like this.
async fn add_with(script: &str, add_timeout: Duration) -> (Fake, Error) {
    let fake = Fake::new(&["one", "two", "three"], VERSIONS);
    fake.behave("two", "ADD", script);
    let config = Config {
        add_timeout,
        ..fake.config()
    };
    let cni = fake.open_with(config).await;
    let error = cni.add(attachment("c1")).await.unwrap_err();
    // Also those that never came to run.
    let undone = ["ADD one", "ADD two", "DEL three", "DEL two", "DEL one"];
    assert_eq!(fake.calls(), undone, "{}", words(&error));
    assert!(fake.records().is_empty());
    (fake, error)
}

#[track_caller]
fn check(error: &Error, kind: Kind, said: &str) {
    assert_eq!(
        words(error),
        format!("run network net: CNI plugin two: ADD: {said}")
    );
    assert_eq!(error.kind(), kind);
}

#[tokio::test]
async fn a_failure_half_way_is_told_in_the_plugins_words_and_undone_backwards() {
    let script = r#"echo '{"code": 100, "msg": "no", "details": "pool is empty"}'; exit 1"#;
    let (_fake, error) = add_with(script, LONG).await;
    check(&error, Kind::Plugin, "code 100: no (pool is empty)");
}

#[tokio::test]
async fn a_plugin_that_asks_to_try_again_is_told_from_one_that_fails() {
    let script = r#"echo '{"code": 11, "msg": "busy"}'; exit 1"#;
    let (_fake, error) = add_with(script, LONG).await;
    check(&error, Kind::TryLater, "code 11: busy");
}

#[tokio::test]
async fn an_error_with_success_is_a_failure() {
    let (_fake, error) = add_with(r#"echo '{"code": 7, "msg": "no"}'; exit 0"#, LONG).await;
    check(&error, Kind::Plugin, "code 7: no");
}

#[tokio::test]
async fn a_crash_is_told_with_what_the_plugin_logged() {
    let (_fake, error) = add_with("echo 'panic: nil map' >&2; exit 2", LONG).await;
    let said = "ended with exit status: 2 and no CNI error: panic: nil map";
    check(&error, Kind::Plugin, said);
}

#[tokio::test]
async fn nonsense_and_silence_are_failures() {
    let (_fake, error) = add_with("echo hello; exit 0", LONG).await;
    check(&error, Kind::Plugin, "answered what is not JSON: hello");
    let (_fake, error) = add_with("exit 0", LONG).await;
    check(&error, Kind::Plugin, "answered what is not a CNI result");
    let (_fake, error) = add_with("echo '{\"ips\": 1}'; exit 0", LONG).await;
    assert!(
        words(&error).contains("answered what is not a CNI result ("),
        "{}",
        words(&error)
    );
}

#[tokio::test]
async fn megabytes_are_a_failure() {
    let (_fake, error) = add_with("yes", LONG).await;
    check(
        &error,
        Kind::Plugin,
        "wrote more than 1048576 bytes, killed",
    );
}

#[tokio::test]
async fn a_plugin_that_hangs_is_killed_and_undone() {
    let script = "sleep 600 & echo $! > $PLACE/pid; wait";
    let (fake, error) = add_with(script, Duration::from_secs(8)).await;
    assert_eq!(error.kind(), Kind::TimedOut);
    assert!(
        words(&error).contains("CNI plugin two: ADD: not done after "),
        "{}",
        words(&error)
    );
    let pid = std::fs::read_to_string(fake.path("pid")).unwrap();
    fake.eventually("its children are killed with it", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_vanishes_is_named_with_where_it_was_looked_for() {
    let fake = Fake::new(&["one", "two"], VERSIONS);
    let cni = fake.open().await;
    std::fs::remove_file(fake.path("bin/two")).unwrap();
    let error = cni.add(attachment("c1")).await.unwrap_err();
    let bin = fake.path("bin");
    let place = format!("{}, {}", fake.path("nowhere").display(), bin.display());
    let said = format!("run network net: CNI plugin two: ADD: no such program in {place}");
    assert_eq!(words(&error), said);
    // It can't be undone without it: the record stays, and the next DEL does it.
    assert_eq!(fake.records().len(), 1);
    fake.install("two", VERSIONS);
    cni.del(attachment("c1")).await.unwrap();
    assert!(fake.records().is_empty());
}

#[tokio::test]
async fn a_del_that_fails_stops_keeps_the_record_and_can_be_repeated() {
    let fake = Fake::new(&["one", "two"], VERSIONS);
    let cni = fake.open().await;
    cni.add(attachment("c1")).await.unwrap();
    fake.forget_calls();
    fake.behave("two", "DEL", "exit 1");
    assert!(cni.del(attachment("c1")).await.is_err());
    assert_eq!(
        fake.calls(),
        ["DEL two"],
        "the address is not given back before its rules"
    );
    fake.behave("two", "DEL", "");
    cni.del(attachment("c1")).await.unwrap();
    assert_eq!(fake.calls(), ["DEL two", "DEL two", "DEL one"]);
    assert!(fake.records().is_empty());
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_cut_an_add_in_half() {
    let fake = Fake::new(&["one", "two"], VERSIONS);
    fake.behave("one", "ADD", "sleep 1");
    let cni = fake.open().await;
    let add = cni.add(attachment("c1"));
    assert!(
        tokio::time::timeout(Duration::from_millis(300), add)
            .await
            .is_err()
    );
    cni.del(attachment("c1")).await.unwrap();
    assert_eq!(fake.calls(), ["ADD one", "ADD two", "DEL two", "DEL one"]);
}
