//! Checks of what outlives the server, and of what must not.

use std::sync::Arc;
use std::time::Duration;

use super::{Bench, Pod, exit, log_lines, ok, sh, until, within};
use crate::{Adopted, Kind, RunState};

pub(super) async fn a_sandbox_is_adopted_with_its_containers(bench: Arc<dyn Bench>) {
    let pod = Pod::new(bench, "adopt").await;
    let spec = pod.container_spec(
        "c",
        "echo before; while [ ! -e /go ]; do sleep 0.1; done; echo after; exit 6",
    );
    let (id, log) = (spec.id.clone(), spec.log_path.clone().unwrap());
    let before = pod.run_spec(spec).await;
    let status = ok(before.status()).await;
    drop(before);

    let pod = pod.adopted().await;
    let container = ok(pod.sandbox.adopt_container(&id)).await;
    let now = ok(container.status()).await;
    assert_eq!(
        (now.state, &now.user, now.pid),
        (RunState::Running, &status.user, status.pid)
    );
    assert!(now.started_at.is_some());
    assert_eq!(sh(&container, "touch /go").await.1, 0);
    assert_eq!(exit(&container).await.code, 6);
    assert_eq!(log_lines(&log), ["before", "after"]);
    ok(container.remove()).await;
    let another = pod.run("d", "exit 1").await;
    assert_eq!(exit(&another).await.code, 1);
    pod.end().await;
}

pub(super) async fn an_end_that_came_meanwhile_is_told(bench: Arc<dyn Bench>) {
    let pod = Pod::new(bench, "meanwhile").await;
    let spec = pod.container_spec("c", "echo going; exit 9");
    let (id, log) = (spec.id.clone(), spec.log_path.clone().unwrap());
    pod.run_spec(spec).await;
    until("its output", || log_lines(&log) == ["going"]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let pod = pod.adopted().await;
    let container = ok(pod.sandbox.adopt_container(&id)).await;
    assert_eq!(exit(&container).await.code, 9);
    pod.end().await;
}

pub(super) async fn a_sandbox_that_ended_meanwhile_is_said_to_have_ended(bench: Arc<dyn Bench>) {
    let pod = Pod::new(bench, "gone").await;
    pod.run("c", "sleep 1000").await;
    let saved = pod.sandbox.save();
    pod.bench.kill_supervisor(&pod.sandbox.explain().await);
    within(pod.sandbox.wait()).await;
    let again = ok(pod.bench.sandboxer().adopt(saved)).await;
    assert!(matches!(again, Adopted::Ended(_)), "it is dead");
    ok(pod.bench.sandboxer().discard(&pod.spec.id)).await;
}

pub(super) async fn the_end_of_the_supervisor_ends_the_sandbox_and_says_so(bench: Arc<dyn Bench>) {
    let pod = Pod::new(bench, "killed").await;
    let container = pod.run("c", "sleep 1000").await;
    pod.bench.kill_supervisor(&pod.sandbox.explain().await);
    let ended = within(pod.sandbox.wait()).await;
    assert!(!ended.asked, "{ended:?}");
    assert!(ended.message.contains("killed by signal 9"), "{ended:?}");
    let exit = exit(&container).await;
    assert_eq!(exit.code, 255);
    assert!(exit.message.contains("killed by signal 9"), "{exit:?}");
    let refused = pod
        .sandbox
        .create_container(pod.container_spec("d", "true"))
        .await;
    assert_eq!(
        refused.err().map(|error| error.kind()),
        Some(Kind::WrongState)
    );
    ok(container.remove()).await;
    pod.end().await;
}

pub(super) async fn what_nobody_knows_any_more_is_swept(bench: Arc<dyn Bench>) {
    let pod = Pod::new(bench.clone(), "swept").await;
    let kept = Pod::new(bench.clone(), "kept").await;
    pod.run("c", "trap '' TERM; sleep 1000").await;
    let container = kept.run("c", "sleep 1000").await;
    ok(bench.sandboxer().sweep(std::slice::from_ref(&kept.spec.id))).await;
    within(pod.sandbox.wait()).await;
    assert_eq!(sh(&container, "true").await.1, 0, "the other lives");
    kept.end().await;
}
