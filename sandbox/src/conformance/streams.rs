//! Checks of logs, exec and attach.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::{Pod, exec_spec, exit, finish, log_lines, ok, sh, until, within};
use crate::ExecSpec;

pub(super) async fn all_output_is_in_the_log_when_the_end_is_known(pod: Pod) {
    let spec = pod.container_spec("c", "seq 1 5000; echo error >&2; printf unfinished");
    let log = spec.log_path.clone().unwrap();
    let container = pod.run_spec(spec).await;
    assert_eq!(exit(&container).await.code, 0);
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(
        text.lines()
            .filter(|line| line.contains(" stdout F "))
            .count(),
        5000
    );
    assert!(
        text.lines().any(|line| line.ends_with(" stderr F error")),
        "stderr is there"
    );
    let mut lines = log_lines(&log);
    assert!(
        lines.contains(&"unfinished".to_owned()),
        "the last line is there"
    );
    lines.retain(|line| line.parse::<u32>().is_ok());
    let in_order: Vec<_> = (1..=5000).map(|number| number.to_string()).collect();
    assert_eq!(lines, in_order);
}

pub(super) async fn a_reopened_log_gets_what_comes_later(pod: Pod) {
    let spec = pod.container_spec(
        "c",
        "echo before; while [ ! -e /go ]; do sleep 0.1; done; echo after",
    );
    let log = spec.log_path.clone().unwrap();
    let container = pod.run_spec(spec).await;
    until("the first line", || log_lines(&log) == ["before"]).await;
    let old = log.with_extension("old");
    std::fs::rename(&log, &old).unwrap();
    ok(container.reopen_log()).await;
    assert!(log.exists(), "it is there when the call returns");
    sh(&container, "touch /go").await;
    exit(&container).await;
    assert_eq!(log_lines(&old), ["before"]);
    assert_eq!(log_lines(&log), ["after"]);
    std::fs::remove_file(old).unwrap();
}

pub(super) async fn exec_has_streams_and_a_code(pod: Pod) {
    let container = pod.run("c", "sleep 1000").await;
    assert_eq!(
        sh(&container, "echo out; echo err >&2; exit 5").await,
        ("out\n".into(), 5)
    );
    assert_eq!(sh(&container, "kill -9 $$").await.1, 137);
    let mut spec = exec_spec("tr a-z A-Z");
    spec.stdin = true;
    let mut process = ok(container.exec(spec)).await;
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(b"hello").await.unwrap();
    stdin.shutdown().await.unwrap();
    assert_eq!(finish(process).await, ("HELLO".into(), 0, false));
    let mut missing = exec_spec("");
    missing.args = vec!["/no/such/program".into()];
    let failed = match within(container.exec(missing)).await {
        Ok(process) => finish(process).await.1 != 0,
        Err(_) => true,
    };
    assert!(failed, "there is no such program");
}

pub(super) async fn exec_hands_on_more_than_any_buffer_holds(pod: Pod) {
    const SIZE: usize = 8 << 20;
    let container = pod.run("c", "sleep 1000").await;
    let mut spec = exec_spec("cat");
    spec.stdin = true;
    let mut process = ok(container.exec(spec)).await;
    let (mut stdin, mut stdout) = (
        process.stdin.take().unwrap(),
        process.stdout.take().unwrap(),
    );
    let sent: Vec<u8> = (0..=250).cycle().take(SIZE).collect();
    let writing = {
        let sent = sent.clone();
        tokio::spawn(async move {
            stdin.write_all(&sent).await.unwrap();
            stdin.shutdown().await.unwrap();
        })
    };
    // Nobody reads yet: a few buffers fill, and then the writer has to wait.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(
        !writing.is_finished(),
        "somewhere {SIZE} bytes are buffered"
    );
    let mut received = Vec::new();
    within(stdout.read_to_end(&mut received)).await.unwrap();
    assert!(received == sent, "{} bytes arrived", received.len());
    assert_eq!(within(process.exit).await.unwrap().code, 0);
}

pub(super) async fn a_port_inside_is_reached_and_a_closed_one_is_refused(pod: Pod) {
    pod.run("c", "nc -l -p 4711 -e cat").await;
    // It takes a moment until somebody listens.
    let connected = async {
        loop {
            match pod.sandbox.dial(4711).await {
                Ok(connection) => return connection,
                Err(error) => {
                    assert_eq!(error.kind(), crate::Kind::Unavailable, "{}", error.chain());
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let connection = within(connected).await;
    let (mut reader, mut writer) = (connection.reader, connection.writer);
    writer.write_all(b"there and back").await.unwrap();
    writer.shutdown().await.unwrap();
    let mut answer = Vec::new();
    within(reader.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"there and back");
    let refused = pod.sandbox.dial(4712).await.err().unwrap();
    assert!(refused.chain().contains("4712"), "{}", refused.chain());
}

pub(super) async fn exec_that_takes_too_long_is_killed_alone(pod: Pod) {
    let container = pod.run("c", "sleep 1000").await;
    let mut spec = exec_spec("sleep 555 & sleep 556");
    spec.timeout = Some(Duration::from_secs(1));
    let (_, code, timed_out) = finish(ok(container.exec(spec)).await).await;
    assert!(timed_out, "code {code}");
    let (processes, code) = sh(&container, "ps").await;
    assert_eq!(code, 0, "the container lives");
    assert!(!processes.contains("sleep 55"), "{processes}");
}

pub(super) async fn exec_that_nobody_waits_for_is_killed(pod: Pod) {
    let container = pod.run("c", "sleep 1000").await;
    drop(ok(container.exec(exec_spec("sleep 555"))).await);
    let mut processes = String::new();
    for _ in 0..100 {
        processes = sh(&container, "ps").await.0;
        if !processes.contains("sleep 555") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!processes.contains("sleep 555"), "{processes}");
}

pub(super) async fn attach_sees_what_comes_and_can_write(pod: Pod) {
    let mut spec = pod.container_spec("c", "while read line; do echo \"got $line\"; done; exit 4");
    spec.stdin = true;
    spec.stdin_once = true;
    let log = spec.log_path.clone().unwrap();
    let container = pod.run_spec(spec).await;
    let attach = ExecSpec {
        stdin: true,
        stdout: true,
        stderr: true,
        ..ExecSpec::default()
    };
    let mut process = ok(container.attach(attach)).await;
    let mut stdin = process.stdin.take().unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap());
    stdin.write_all(b"one\n").await.unwrap();
    let mut line = String::new();
    within(stdout.read_line(&mut line)).await.unwrap();
    assert_eq!(line, "got one\n");
    stdin.shutdown().await.unwrap();
    drop(stdin);
    assert_eq!(exit(&container).await.code, 4);
    assert_eq!(log_lines(&log), ["got one"]);
}
