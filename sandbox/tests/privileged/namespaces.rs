//! Checks of what only sandboxes made of host namespaces have: an agent on the node, whose records outlive it.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use sandbox::conformance::Bench;
use sandbox::{Adopted, Container};

use super::machines::{Check, Pod, ok};
use super::node::Node;

pub const CHECKS: [(&str, Check); 2] = [
    (
        "what_ended_before_its_agent_died_is_known_to_the_next_server",
        |node| Box::pin(leaves_records(node)),
    ),
    ("an_agent_that_is_stopped_does_not_keep_its_pod", |node| {
        Box::pin(is_stopped(node))
    }),
];

async fn leaves_records(node: Arc<Node>) {
    let pod = Pod::new(&node, node.sandboxer(), "records").await;
    let late = pod
        .run(node.container(&pod.spec, "late", "sleep 1000"))
        .await;
    let early = pod.run(node.container(&pod.spec, "early", "exit 3")).await;
    let mut hungry = node.container(&pod.spec, "hungry", "exec tail -c 100m /dev/zero");
    hungry.resources.memory_bytes = Some(24 << 20);
    let hungry = pod.run(hungry).await;
    assert_eq!(early.wait().await.code, 3);
    assert!(hungry.wait().await.oom_killed);

    let (saved, explained) = (pod.sandbox.save(), pod.sandbox.explain().await);
    node.kill_supervisor(&explained);
    let ended = pod.sandbox.wait().await;
    let blamed = ended.message.contains("memory");
    assert!(!blamed, "what a container lacked is not why: {ended:?}");
    let Adopted::Ended(exits) = ok(node.sandboxer().adopt(saved)).await else {
        panic!("its agent is dead");
    };
    let code_of = |container: &dyn Container| {
        let told = exits.iter().find(|(id, _)| id == container.id());
        told.map(|(_, exit)| exit.code)
    };
    assert_eq!(code_of(&*early), Some(3));
    assert_eq!(code_of(&*hungry), Some(137));
    assert_eq!(code_of(&*late), None, "nobody can know");
    ok(node.sandboxer().discard(&pod.spec.id)).await;
}

async fn is_stopped(node: Arc<Node>) {
    let pod = Pod::new(&node, node.sandboxer(), "stopped").await;
    let container = pod.run(node.container(&pod.spec, "c", "sleep 1000")).await;
    let explained = pod.sandbox.explain().await;
    let pid = explained
        .iter()
        .find(|(name, _)| name == "supervisor_pid")
        .map(|(_, pid)| pid.clone())
        .unwrap();
    let stopped = Command::new("kill").args(["-STOP", &pid]).status();
    assert!(stopped.unwrap().success());
    ok(pod.sandbox.stop(Duration::ZERO)).await;
    assert_eq!(container.wait().await.code, 255, "nobody could tell");
    pod.over().await;
}
