//! Processes that are exec'd.

use std::fs;
use std::time::{Duration, Instant};

use agent_api::client::EXEC_SYNC_CAP;
use agent_api::v1;
use agent_api::v1::stream_input::Input;
use agent_api::v1::stream_output::Output;
use tonic::Code;

use crate::fixture::{Pod, exec, process, wait_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execd_process_has_its_own_output_and_exit_code() {
    let pod = Pod::new().await;
    pod.start(pod.shell("c1", "sleep 60")).await;
    let output = pod.exec("c1", "echo out; echo err >&2; exit 5").await;
    assert_eq!(output.stdout, b"out\n");
    assert_eq!(output.stderr, b"err\n");
    assert_eq!((output.code, output.timed_out), (5, false));
    assert_eq!(pod.exec("c1", "kill -9 $$").await.code, 137);
    assert_eq!(pod.log("c1"), "");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_background_children_do_not_hold_it_up_and_live_on() {
    let pod = Pod::new().await;
    pod.start(pod.shell("c1", "sleep 1000")).await;
    let start = Instant::now();
    let output = pod.exec("c1", "sleep 500 & echo started").await;
    assert_eq!(output.stdout, b"started\n");
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(pod.exec_output("c1", "ps").await.contains("sleep 500"));
    wait_for("its cgroup is gone", || {
        !pod.cgroup("c1").join("exec-0").exists()
    });
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_kills_the_process_and_all_that_it_started_and_nothing_else() {
    let pod = Pod::new().await;
    pod.start(pod.shell("c1", "sleep 1000")).await;
    let mut start = exec(
        "c1",
        &[
            "sh",
            "-c",
            "echo before; sleep 4321 & setsid sleep 4321 & sleep 4321",
        ],
    );
    start.timeout_ms = 1000;
    let output = pod.client.exec_sync(start, EXEC_SYNC_CAP).await.unwrap();
    assert!(output.timed_out);
    assert_eq!(output.stdout, b"before\n");
    let left = pod.exec("c1", "ps | grep -v grep | grep 4321").await;
    assert_eq!((left.stdout, left.stderr), (vec![], vec![]));
    assert!(pod.exec_output("c1", "ps").await.contains("sleep 1000"));
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_takes_its_process_with_it() {
    let pod = Pod::new().await;
    pod.start(pod.shell("c1", "sleep 1000")).await;
    let session = pod
        .client
        .exec(exec("c1", &["sleep", "4321"]))
        .await
        .unwrap();
    assert!(pod.cgroup("c1").join("exec-0").exists());
    drop(session);
    wait_for("the process and its cgroup are gone", || {
        !pod.cgroup("c1").join("exec-0").exists()
    });
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_restricted_as_the_first_process_is() {
    let pod = Pod::new().await;
    let mut request = pod.shell("c1", "sleep 60");
    let first = process(&mut request);
    first.user = Some(v1::User {
        user: Some(v1::user::User::Uid(1000)),
        supplemental_groups: vec![1234],
        ..v1::User::default()
    });
    first.no_new_privileges = true;
    first.cwd = "/work/here".into();
    first.env.push(b"NAME=value".to_vec());
    first.seccomp = crate::security::denying(90);
    first.oom_score_adj = Some(321);
    first.rlimits = vec![v1::Rlimit {
        kind: "RLIMIT_NOFILE".into(),
        soft: 77,
        hard: 88,
    }];
    pod.start(request).await;
    let status = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; id; pwd; echo $NAME $HOME; \
                  cat /proc/self/oom_score_adj; ulimit -n; ls -l /proc/self/ns | awk '{print $11}'; \
                  cat /proc/self/attr/current";
    let execd = pod.exec_output("c1", status).await;
    assert!(execd.contains("NoNewPrivs:\t1"), "{execd}");
    assert!(execd.contains("Seccomp:\t2"), "{execd}");
    assert!(
        execd.contains("uid=1000(user) gid=1000(user) groups=1000(user),1234,50000"),
        "{execd}"
    );
    assert!(
        execd.contains("/work/here\nvalue /home/user\n321\n77\n"),
        "{execd}"
    );

    let mut request = pod.shell("c2", &format!("{status}; sleep 60"));
    request.process = Some(v1::Process {
        args: request.process.take().unwrap().args,
        ..pod_process(&pod, "c2")
    });
    pod.start(request).await;
    wait_for("it wrote its status", || {
        pod.log("c2").contains("unconfined")
    });
    // But for the namespaces that are each container's own.
    let shared = |text: &str| -> Vec<String> {
        let own = ["mnt:", "pid:", "cgroup:"];
        let lines = text
            .lines()
            .filter(|line| !own.iter().any(|kind| line.starts_with(kind)));
        lines.map(ToOwned::to_owned).collect()
    };
    assert_eq!(shared(&execd), shared(&pod.log("c2")));
    pod.finish().await;
}

/// The process of the test above.
fn pod_process(pod: &Pod, id: &str) -> v1::Process {
    let mut request = pod.shell(id, "");
    let first = process(&mut request);
    first.user = Some(v1::User {
        user: Some(v1::user::User::Uid(1000)),
        supplemental_groups: vec![1234],
        ..v1::User::default()
    });
    first.no_new_privileges = true;
    first.cwd = "/work/here".into();
    first.env.push(b"NAME=value".to_vec());
    first.seccomp = crate::security::denying(90);
    first.oom_score_adj = Some(321);
    first.rlimits = vec![v1::Rlimit {
        kind: "RLIMIT_NOFILE".into(),
        soft: 77,
        hard: 88,
    }];
    first.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stdin_reaches_it_and_ends() {
    let pod = Pod::new().await;
    pod.start(pod.shell("c1", "sleep 60")).await;
    let start = v1::StreamStart {
        stdin: true,
        ..exec("c1", &["cat"])
    };
    let mut session = pod.client.exec(start).await.unwrap();
    let big = vec![b'x'; 1 << 20];
    let input = session.input.clone();
    let sent = big.clone();
    tokio::spawn(async move {
        for chunk in sent.chunks(50_000) {
            let message = Input::Stdin(chunk.to_vec().into());
            input
                .send(v1::StreamInput {
                    input: Some(message),
                })
                .await
                .unwrap();
        }
        let end = Input::StdinEnd(v1::Empty {});
        input
            .send(v1::StreamInput { input: Some(end) })
            .await
            .unwrap();
    });
    let mut received = Vec::new();
    let exit = loop {
        match session.next().await.unwrap().unwrap() {
            Output::Stdout(bytes) => received.extend_from_slice(&bytes),
            Output::Exit(exit) => break exit,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(exit.code, 0);
    assert_eq!(received, big);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_has_a_size_and_one_stream() {
    let pod = Pod::new().await;
    pod.start(pod.shell("c1", "sleep 60")).await;
    let mut start = exec(
        "c1",
        &[
            "sh",
            "-c",
            "tty; stty size; read x; stty size; echo got $x >&2",
        ],
    );
    start.stdin = true;
    let process = start.process.as_mut().unwrap();
    (process.terminal, process.width, process.height) = (true, 100, 30);
    let mut session = pod.client.exec(start).await.unwrap();
    for input in [
        Input::Resize(v1::Resize {
            width: 120,
            height: 40,
        }),
        Input::Stdin(b"hello\n".to_vec().into()),
    ] {
        session
            .input
            .send(v1::StreamInput { input: Some(input) })
            .await
            .unwrap();
    }
    let mut text = Vec::new();
    let code = loop {
        match session.next().await.unwrap().unwrap() {
            Output::Stdout(bytes) => text.extend_from_slice(&bytes),
            Output::Exit(exit) => break exit.code,
            other => panic!("{other:?}"),
        }
    };
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("/dev/pts/"), "{text}");
    assert!(text.contains("40 120\r\n"), "{text}");
    assert!(text.ends_with("got hello\r\n"), "{text}");
    assert_eq!(code, 0);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_execd_in_a_container_that_does_not_run() {
    let pod = Pod::new().await;
    let code = async |id| {
        pod.client
            .exec(exec(id, &["true"]))
            .await
            .unwrap_err()
            .code()
    };
    assert_eq!(code("nosuch").await, Code::NotFound);
    pod.client
        .create_container(pod.shell("c1", "true"))
        .await
        .unwrap();
    assert_eq!(code("c1").await, Code::FailedPrecondition);
    pod.client.start_container("c1").await.unwrap();
    pod.exit_of("c1").await;
    assert_eq!(code("c1").await, Code::FailedPrecondition);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_missing_is_named() {
    let pod = Pod::new().await;
    pod.start(pod.shell("c1", "sleep 60")).await;
    let error = pod.client.exec(exec("c1", &["nosuch"])).await.unwrap_err();
    assert_eq!(
        error.words(),
        Some("exec \"nosuch\": no such file or directory")
    );
    wait_for("its cgroup is gone", || {
        !fs::read_dir(pod.cgroup("c1"))
            .unwrap()
            .any(|e| e.unwrap().file_type().unwrap().is_dir())
    });
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_fine() {
    let pod = Pod::new().await;
    pod.start(pod.shell("c1", "sleep 600")).await;
    let mut running = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (client, start) = (
            pod.client.clone(),
            exec("c1", &["echo", &number.to_string()]),
        );
        running.spawn(async move { client.exec_sync(start, EXEC_SYNC_CAP).await.unwrap().stdout });
    }
    let mut all: Vec<_> = running
        .join_all()
        .await
        .into_iter()
        .map(String::from_utf8)
        .map(Result::unwrap)
        .collect();
    all.sort_by_key(|text| text.trim().parse::<u32>().unwrap());
    assert_eq!(
        all,
        (0..20)
            .map(|number| format!("{number}\n"))
            .collect::<Vec<_>>()
    );
    pod.finish().await;
}
