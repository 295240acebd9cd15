//! Checks of how containers begin and end.

use std::sync::Arc;
use std::time::Duration;

use super::{Pod, exit, ok, sh, within};
use crate::spec::FileContent;
use crate::{RunState, Signal};

pub(super) async fn an_exit_code_arrives(pod: Pod) {
    let spec = pod.container_spec("c", "exit 7");
    let container = pod.make(spec).await;
    let created = ok(container.status()).await;
    assert_eq!((created.state, created.exit), (RunState::Created, None));
    ok(container.start()).await;
    let ended = exit(&container).await;
    assert_eq!((ended.code, ended.oom_killed), (7, false), "{ended:?}");
    let status = ok(container.status()).await;
    assert_eq!(status.state, RunState::Exited);
    assert!(status.started_at.unwrap() <= ended.finished_at + Duration::from_secs(1));
    ok(container.remove()).await;
}

pub(super) async fn a_signal_that_kills_arrives_as_128_and_its_number(pod: Pod) {
    let script = "trap 'exit 3' TERM; while true; do sleep 0.1; done";
    let polite = pod.run("polite", script).await;
    let killed = pod.run("killed", script).await;
    ok(killed.signal(Signal::KILL)).await;
    assert_eq!(exit(&killed).await.code, 137);
    // The shell needs a moment to set its trap.
    until_trapped(&polite).await;
    ok(polite.signal(Signal::TERM)).await;
    assert_eq!(exit(&polite).await.code, 3);
    ok(polite.signal(Signal::TERM)).await;
}

async fn until_trapped(container: &Arc<dyn crate::Container>) {
    // SIGTERM is number 15, so its bit in the set of caught signals is 2^14.
    let script = "while ! awk '/SigCgt/ { exit !(substr($2, 13, 1) ~ /[4-7c-f]/) }' /proc/1/status; \
                  do sleep 0.1; done";
    sh(container, script).await;
}

pub(super) async fn a_container_that_was_never_started_can_be_removed(pod: Pod) {
    let container = pod.make(pod.container_spec("c", "true")).await;
    ok(container.remove()).await;
    let another = pod.run("d", "exit 0").await;
    assert_eq!(exit(&another).await.code, 0);
}

pub(super) async fn removing_a_container_kills_it_and_can_be_repeated(pod: Pod) {
    let container = pod.run("c", "trap '' TERM; sleep 1000 & sleep 1000").await;
    ok(container.remove()).await;
    ok(container.remove()).await;
    let unknown = pod.sandbox.adopt_container(container.id()).await;
    assert_eq!(unknown.err().map(|e| e.kind()), Some(crate::Kind::NotFound));
}

pub(super) async fn a_program_that_is_not_there_is_an_error_that_names_it(pod: Pod) {
    let mut spec = pod.container_spec("c", "");
    spec.process.args = vec!["/no/such/program".into()];
    let failed = match within(pod.sandbox.create_container(spec)).await {
        Ok(container) => within(container.start()).await.map(drop),
        Err(error) => Err(error),
    };
    let error = failed.expect_err("there is no such program");
    assert!(
        error.chain().contains("/no/such/program"),
        "{}",
        error.chain()
    );
}

pub(super) async fn containers_of_a_pod_share_its_name_and_not_their_files(pod: Pod) {
    let one = pod.run("one", "sleep 1001").await;
    let two = pod.run("two", "sleep 1002").await;
    assert_eq!(
        sh(&one, "hostname; echo x > /file").await,
        (format!("{}\n", pod.spec.hostname), 0)
    );
    assert_eq!(
        sh(&two, "hostname; cat /file 2>/dev/null").await,
        (format!("{}\n", pod.spec.hostname), 1)
    );
    assert_eq!(sh(&one, "echo shm > /dev/shm/x").await.1, 0);
    assert_eq!(sh(&two, "cat /dev/shm/x").await, ("shm\n".into(), 0));
    let processes = sh(&two, "ps").await.0;
    assert!(
        processes.contains("sleep 1002") && !processes.contains("sleep 1001"),
        "{processes}"
    );
}

pub(super) async fn files_that_are_given_are_there(pod: Pod) {
    let mut spec = pod.container_spec(
        "c",
        "cat /etc/given/resolv.conf; stat -c %a /etc/given/resolv.conf",
    );
    spec.files.push(FileContent {
        path: "/etc/given/resolv.conf".into(),
        content: b"nameserver 10.0.0.1\n".to_vec(),
        mode: 0o640,
    });
    let log = spec.log_path.clone().unwrap();
    let container = pod.run_spec(spec).await;
    assert_eq!(exit(&container).await.code, 0);
    assert_eq!(super::log_lines(&log), ["nameserver 10.0.0.1", "640"]);
}

pub(super) async fn a_read_only_root_can_not_be_written(pod: Pod) {
    let mut spec = pod.container_spec(
        "c",
        "echo x > /file && exit 1; echo x > /dev/shm/x || exit 2",
    );
    spec.readonly_rootfs = true;
    let container = pod.run_spec(spec).await;
    assert_eq!(exit(&container).await.code, 0);
}
