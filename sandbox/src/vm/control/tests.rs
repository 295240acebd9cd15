//! Tests against a peer that speaks the protocol from a thread.

use std::thread::{self, JoinHandle};

use rustix::net::accept;
use vmm_api::event::Stop;

use super::*;

/// Accepts `connections` one after the other; on each it answers the greeting and then by `answer`.
fn serve(
    path: &Path,
    connections: usize,
    answer: impl Fn(&Request) -> Option<Reply> + Send + 'static,
) -> JoinHandle<()> {
    let listener = listen(path).unwrap();
    thread::spawn(move || {
        for _ in 0..connections {
            let channel: Channel = accept(&listener).unwrap().into();
            while let Ok((request, _fds)) = channel.receive::<Request>() {
                let reply = match &request {
                    Request::Hello { .. } => Some(Reply::Hello {
                        protocol: 1,
                        build: "test".into(),
                    }),
                    other => answer(other),
                };
                let Some(reply) = reply else { break };
                channel.send(&reply, &[]).unwrap();
                if request == Request::Subscribe {
                    let stopped = Event::Stopped {
                        how: Stop::Reset,
                        why: "panic".into(),
                    };
                    channel.send(&Event::Running, &[]).unwrap();
                    channel.send(&stopped, &[]).unwrap();
                    break;
                }
            }
        }
    })
}

fn close_log() -> Request {
    Request::CloseLog {
        container: "c1".into(),
    }
}

#[tokio::test]
async fn a_refusal_keeps_its_kind_and_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let peer = serve(&path, 1, |request| {
        Some(match request {
            Request::Kill => Reply::Done,
            _ => Reply::Failed(Failure {
                code: ErrorCode::NotFound,
                message: "no container c1".into(),
            }),
        })
    });
    let control = Control::at(path);
    let error = control.tell(&close_log(), &[]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(
        error.chain(),
        "ask the VMM to close a log file: no container c1"
    );
    control.tell(&Request::Kill, &[]).await.unwrap();
    drop(control);
    peer.join().unwrap();
}

#[tokio::test]
async fn after_a_break_the_next_request_connects_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let peer = serve(&path, 2, |request| {
        (*request == Request::Kill).then_some(Reply::Done)
    });
    let control = Control::at(path);
    let error = control.tell(&close_log(), &[]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    control.tell(&Request::Kill, &[]).await.unwrap();
    drop(control);
    peer.join().unwrap();
}

#[tokio::test]
async fn events_come_until_the_vmm_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let peer = serve(&path, 1, |_| Some(Reply::Done));
    let mut events = Control::at(path).subscribe().await.unwrap();
    assert_eq!(events.next().await, Some(Event::Running));
    assert!(matches!(events.next().await, Some(Event::Stopped { .. })));
    assert_eq!(events.next().await, None);
    peer.join().unwrap();
}

#[tokio::test]
async fn a_vmm_that_is_not_there_is_unavailable() {
    let control = Control::at("/nonexistent/control.sock".into());
    let error = control.tell(&Request::Kill, &[]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
}
