//! Logs and attached clients.

use std::fs;
use std::time::Duration;

use agent_api::client::Session;
use agent_api::v1;
use agent_api::v1::stream_input::Input;
use agent_api::v1::stream_output::Output;

use crate::fixture::{Pod, exec, process, wait_for};

fn attach(id: &str, stdin: bool) -> v1::StreamStart {
    v1::StreamStart {
        container_id: id.to_owned(),
        stdin,
        stdout: true,
        stderr: true,
        ..v1::StreamStart::default()
    }
}

async fn send(session: &Session, input: Input) {
    session
        .input
        .send(v1::StreamInput { input: Some(input) })
        .await
        .unwrap();
}

/// All output up to the end, and the exit code.
async fn rest(session: &mut Session) -> (String, Option<u32>) {
    let mut text = Vec::new();
    let collected = async {
        while let Some(output) = session.next().await.unwrap() {
            match output {
                Output::Stdout(bytes) | Output::Stderr(bytes) => text.extend_from_slice(&bytes),
                Output::Exit(exit) => return Some(exit.code),
                Output::Started(_) => {}
            }
        }
        None
    };
    let code = tokio::time::timeout(Duration::from_secs(60), collected)
        .await
        .unwrap();
    (String::from_utf8(text).unwrap(), code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stdin_once_ends_with_the_first_client_and_attach_returns_with_the_container() {
    let pod = Pod::new().await;
    let mut request = pod.container("c1", &["sh"]);
    (request.stdin, request.stdin_once) = (true, true);
    pod.start(request).await;
    let mut session = pod.client.attach(attach("c1", true)).await.unwrap();
    send(&session, Input::Stdin(b"echo -n hello\n".to_vec().into())).await;
    send(&session, Input::StdinEnd(v1::Empty {})).await;
    assert_eq!(rest(&mut session).await, ("hello".to_owned(), Some(0)));
    assert_eq!(pod.exit_of("c1").await.code, 0);
    assert_eq!(pod.log("c1"), "hello");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stdin_stays_open_for_the_next_client_otherwise() {
    let pod = Pod::new().await;
    let mut request = pod.container("c1", &["cat"]);
    request.stdin = true;
    pod.start(request).await;
    let first = pod.client.attach(attach("c1", true)).await.unwrap();
    send(&first, Input::Stdin(b"one\n".to_vec().into())).await;
    send(&first, Input::StdinEnd(v1::Empty {})).await;
    wait_for("the first line is there", || pod.log("c1") == "one\n");
    drop(first);
    let second = pod.client.attach(attach("c1", true)).await.unwrap();
    send(&second, Input::Stdin(b"two\n".to_vec().into())).await;
    wait_for("the second line is there", || pod.log("c1") == "one\ntwo\n");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_stdin_there_is_nothing_to_read() {
    let pod = Pod::new().await;
    assert_eq!(
        pod.output_of(pod.shell("c1", "cat; echo end")).await,
        "end\n"
    );
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_stalls_neither_container_nor_log() {
    let pod = Pod::new().await;
    let mut request = pod.shell(
        "c1",
        "read x; dd if=/dev/zero bs=1M count=12 2>/dev/null; echo end",
    );
    request.stdin = true;
    pod.start(request).await;
    let mut slow = pod.client.attach(attach("c1", true)).await.unwrap();
    send(&slow, Input::Stdin(b"go\n".to_vec().into())).await;
    // It reads nothing until the container has written everything and ended.
    assert_eq!(pod.exit_of("c1").await.code, 0);
    assert!(pod.log("c1").ends_with("end\n"));
    let lagged = loop {
        match slow.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a client that lost output was not told"),
            Err(error) => break error,
        }
    };
    assert_eq!(lagged.code(), tonic::Code::ResourceExhausted);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_log_goes_on_in_a_new_file() {
    let pod = Pod::new().await;
    pod.start(pod.shell("c1", "while true; do echo line; sleep 0.1; done"))
        .await;
    let path = pod.log_path("c1");
    wait_for("it writes", || fs::metadata(&path).unwrap().len() > 0);
    let rotated = path.with_extension("rotated");
    fs::rename(&path, &rotated).unwrap();
    pod.client.reopen_log("c1").await.unwrap();
    assert!(path.exists(), "the new file is there when the call returns");
    let length = fs::metadata(&rotated).unwrap().len();
    wait_for("it writes to the new file", || {
        fs::metadata(&path).unwrap().len() > 0
    });
    assert_eq!(
        fs::metadata(&rotated).unwrap().len(),
        length,
        "it still writes to the old one"
    );
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_of_the_first_process_can_be_attached_to() {
    let pod = Pod::new().await;
    let mut request = pod.shell(
        "c1",
        "tty; ls -l /dev/console | cut -c1; stty size; read x; stty size; echo got $x; exit 3",
    );
    request.stdin = true;
    let first = process(&mut request);
    (first.terminal, first.width, first.height) = (true, 90, 25);
    pod.start(request).await;
    wait_for("it has told its size", || pod.log("c1").contains("25 90"));
    let mut session = pod.client.attach(attach("c1", true)).await.unwrap();
    send(
        &session,
        Input::Resize(v1::Resize {
            width: 132,
            height: 43,
        }),
    )
    .await;
    send(&session, Input::Stdin(b"hello\n".to_vec().into())).await;
    let (text, code) = rest(&mut session).await;
    assert!(text.ends_with("43 132\r\ngot hello\r\n"), "{text}");
    assert_eq!(code, Some(3));
    let log = pod.log("c1");
    // As a terminal has it, with carriage returns, which `lines` takes off.
    assert!(
        log.starts_with("/dev/pts/0\nc\n25 90\nhello\n43 132\n"),
        "{log:?}"
    );
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_who_holds_the_pipe_does_not_hold_up_the_exit() {
    let pod = Pod::new().await;
    let fifo = pod.directory.join("shared");
    fs::create_dir(&fifo).unwrap();
    // A process of the host opens the container's stdout and keeps it.
    pod.start(pod.shell("c1", "echo first; sleep 1")).await;
    let pid = pod.client.list_containers(Some("c1")).await.unwrap()[0].pid;
    let held = fs::File::options()
        .append(true)
        .open(format!("/proc/{pid}/fd/1"))
        .unwrap();
    assert_eq!(pod.exit_of("c1").await.code, 0);
    assert_eq!(pod.log("c1"), "first\n");
    drop(held);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_nobody_reads_hold_up_nobody_else() {
    let pod = Pod::new().await;
    pod.start(pod.shell("c1", "sleep 1000")).await;
    let mut unread = Vec::new();
    for _ in 0..6 {
        let endless = exec("c1", &["cat", "/dev/zero"]);
        unread.push(pod.client.exec(endless).await.unwrap());
    }
    // Until they have filled what may be on its way.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let seen = tokio::time::timeout(Duration::from_secs(30), pod.exec_output("c1", "echo there"));
    assert_eq!(seen.await.unwrap(), "there\n");
    assert_eq!(pod.output_of(pod.shell("c2", "echo fine")).await, "fine\n");
    drop(unread);
    pod.finish().await;
}
