//! `ExecSync`.

use std::time::Duration;

use cri_api::v1::{ExecSyncRequest, ExecSyncResponse};
use tonic::{Code, Status};

use crate::node::Node;

async fn exec(
    node: &mut Node,
    id: &str,
    command: &[&str],
    timeout: i64,
) -> Result<ExecSyncResponse, Status> {
    let request = ExecSyncRequest {
        container_id: id.into(),
        cmd: command.iter().map(ToString::to_string).collect(),
        timeout,
    };
    Ok(node.runtime.exec_sync(request).await?.into_inner())
}

#[tokio::test]
async fn output_and_exit_code_come_back() {
    let mut node = Node::start().await;
    let (_, id) = node.running().await;
    let done = exec(&mut node, &id, &["echo", "hello", "world"], 0)
        .await
        .unwrap();
    assert_eq!(
        (&done.stdout[..], &done.stderr[..], done.exit_code),
        (&b"hello world"[..], &b""[..], 3)
    );
}

#[tokio::test]
async fn a_time_out_has_the_code_that_the_kubelet_looks_for() {
    let mut node = Node::start().await;
    let (_, id) = node.running().await;
    let error = exec(&mut node, &id, &["hang"], 1).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(
        error.message().contains("timed out after 1s"),
        "{}",
        error.message()
    );
}

#[tokio::test]
async fn a_command_that_does_not_even_start_times_out_too() {
    let mut node = Node::start().await;
    let (_, id) = node.running().await;
    let answer = exec(&mut node, &id, &["stuck"], 1);
    let answer = tokio::time::timeout(Duration::from_secs(30), answer).await;
    let error = answer.expect("an answer in time").unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn more_output_than_fits_in_a_message_is_cut() {
    let mut node = Node::start().await;
    let (_, id) = node.running().await;
    let done = exec(&mut node, &id, &["flood"], 60).await.unwrap();
    assert!(
        (15 << 20..16 << 20).contains(&done.stdout.len()),
        "{}",
        done.stdout.len()
    );
}

#[tokio::test]
async fn a_pod_that_dies_meanwhile_is_told() {
    let mut node = Node::start().await;
    let (_, id) = node.running().await;
    let error = exec(&mut node, &id, &["die"], 0).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
}

#[tokio::test]
async fn nothing_runs_in_a_container_that_does_not() {
    let mut node = Node::start().await;
    let (_, id) = node.running().await;
    assert_eq!(
        exec(&mut node, &id, &[], 0).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    node.world.end(&id, 0);
    node.exited(&id).await;
    let error = exec(&mut node, &id, &["echo"], 0).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    let error = exec(&mut node, "0123", &["echo"], 0).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
}
