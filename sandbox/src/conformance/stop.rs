//! Checks of how sandboxes are stopped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Bench, Pod, exit, ok, within};

pub(super) async fn stopping_twice_is_fine(bench: Arc<dyn Bench>) {
    let pod = Pod::new(bench, "stop").await;
    let container = pod.run("c", "sleep 1000").await;
    let both = async {
        tokio::join!(
            pod.sandbox.stop(Duration::from_millis(100)),
            pod.sandbox.stop(Duration::from_millis(100))
        )
    };
    let (first, second) = within(both).await;
    first
        .and(second)
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    ok(pod.sandbox.stop(Duration::ZERO)).await;
    let ended = within(pod.sandbox.wait()).await;
    assert!(ended.asked, "{ended:?}");
    assert_eq!(exit(&container).await.code, 137);
    ok(pod.sandbox.remove()).await;
    ok(pod.sandbox.remove()).await;
}

pub(super) async fn stopping_kills_a_child_that_ignores_the_request(bench: Arc<dyn Bench>) {
    let pod = Pod::new(bench, "stubborn").await;
    let container = pod
        .run("c", "trap '' TERM; (trap '' TERM; sleep 1000) & sleep 1000")
        .await;
    let start = Instant::now();
    ok(pod.sandbox.stop(Duration::from_secs(1))).await;
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "it was given its time"
    );
    assert_eq!(exit(&container).await.code, 137);
    ok(pod.sandbox.remove()).await;
}
