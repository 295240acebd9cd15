//! Strangers, and clients that vanish, never read, or send garbage.

use std::sync::atomic::Ordering;

use super::spdy_client::SpdyClient;
use super::*;

#[tokio::test]
async fn without_a_valid_token_all_requests_look_alike() {
    let (server, _) = server(|_| {}).await;
    let base = format!("http://{}", server.address());
    let used = server.exec(sh("true")).unwrap().url;
    drop(SpdyClient::connect(&used, &["v4.channel.k8s.io"]).await);
    let wrong_kind = server
        .exec(sh("true"))
        .unwrap()
        .url
        .replace("/exec/", "/attach/");
    let upgrade = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n";
    let without_date = |head: &str| {
        let lines = head.lines().filter(|line| !line.starts_with("date:"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let (_, expected) = ask(&format!("{base}/"), "GET", "").await;
    assert!(expected.starts_with("HTTP/1.1 404 "), "{expected}");
    for url in [
        used,
        wrong_kind,
        format!("{base}/exec/guessed"),
        format!("{base}/metrics"),
    ] {
        for (method, headers) in [("GET", ""), ("POST", upgrade), ("PUT", upgrade)] {
            let (_, head) = ask(&url, method, headers).await;
            assert_eq!(without_date(&head), without_date(&expected), "{url}");
        }
    }
}

#[tokio::test]
async fn a_command_is_let_go_when_its_client_vanishes() {
    let (server, shell) = server(|_| {}).await;
    for script in ["sleep 1000", "yes"] {
        let url = server.exec(sh(script)).unwrap().url;
        let (client, _) = SpdyClient::exec(&url, &["error", "stdout", "stderr"]).await;
        eventually("the command runs", || {
            shell.held.load(Ordering::SeqCst) == 1
        })
        .await;
        drop(client);
        eventually("the command is let go", || {
            shell.held.load(Ordering::SeqCst) == 0
        })
        .await;
    }
    eventually("both sessions end", || server.counts().ended == 2).await;
    assert_eq!(server.counts().clients_gone, 2);
}

#[tokio::test]
async fn a_client_that_vanishes_is_noticed_while_nobody_reads_what_it_sent() {
    let (server, shell) = server(|_| {}).await;
    let mut request = sh("sleep 1000");
    request.stdin = true;
    let url = server.exec(request).unwrap().url;
    let types = ["error", "stdin", "stdout", "stderr"];
    let (mut client, ids) = SpdyClient::exec(&url, &types).await;
    // More than the pipe and the inbox take, so that the server stops reading.
    let full = async {
        loop {
            client.send(ids[1], &[0; 16 * 1024]).await;
        }
    };
    let full: Result<(), _> = tokio::time::timeout(Duration::from_secs(2), full).await;
    assert!(full.is_err());
    drop(client);
    eventually("the command is let go", || {
        shell.held.load(Ordering::SeqCst) == 0
    })
    .await;
}

#[tokio::test]
async fn garbage_ends_the_session_and_nothing_else() {
    let (server, shell) = server(|_| {}).await;
    let url = server.exec(sh("sleep 1000")).unwrap().url;
    let (mut client, _) = SpdyClient::exec(&url, &["error", "stdout", "stderr"]).await;
    client
        .io
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    while client.step().await {}
    eventually("the session ends", || server.counts().violations == 1).await;
    eventually("the command is let go", || {
        shell.held.load(Ordering::SeqCst) == 0
    })
    .await;
    assert!(server.exec(sh("true")).is_ok());
}

#[tokio::test]
async fn a_client_that_opens_no_streams_is_given_up() {
    let (server, _) = server(|limits| limits.stream_creation = Duration::from_millis(200)).await;
    let url = server.exec(sh("true")).unwrap().url;
    let mut client = SpdyClient::connect(&url, &["v4.channel.k8s.io"]).await;
    while client.step().await {}
    eventually("the session ends", || server.counts().timed_out == 1).await;
}

#[tokio::test]
async fn a_client_that_neither_reads_nor_sends_is_given_up_when_its_time_is_over() {
    let (server, shell) = server(|limits| limits.idle = Duration::from_millis(1500)).await;
    let url = server.exec(sh("yes")).unwrap().url;
    let (client, _) = SpdyClient::exec(&url, &["error", "stdout", "stderr"]).await;
    eventually("the session ends", || server.counts().timed_out == 1).await;
    assert_eq!(shell.held.load(Ordering::SeqCst), 0);
    drop(client);
}

#[tokio::test]
async fn a_thousand_streams_are_refused_beyond_the_limit() {
    let (server, _) = server(|limits| limits.streams = 4).await;
    let request = PortForwardRequest {
        pod_sandbox_id: "p1".to_owned(),
        port: vec![],
    };
    let url = server.port_forward(request).unwrap().url;
    let mut client = SpdyClient::connect(&url, &["portforward.k8s.io"]).await;
    for request in 0..1000 {
        let request = request.to_string();
        let headers = [
            ("streamtype", "error"),
            ("port", "1"),
            ("requestid", &request),
        ];
        client.open(&headers).await;
    }
    assert_eq!((client.replied.len(), client.reset.len()), (4, 996));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_dropped_at_any_moment_leave_nothing() {
    let (server, shell) = server(|_| {}).await;
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    for round in 0..60u64 {
        let mut request = sh("head -c 200000 /dev/zero; exec cat");
        request.stdin = true;
        let url = server.exec(request).unwrap().url;
        let run = async {
            let types = ["error", "stdin", "stdout", "stderr"];
            let (mut client, ids) = SpdyClient::exec(&url, &types).await;
            client.send(ids[1], &[1; 5000]).await;
            while client.step().await {}
        };
        let _ = tokio::time::timeout(Duration::from_millis(round), run).await;
    }
    let over = || server.counts().started == server.counts().ended;
    eventually("all sessions end", || {
        over() && shell.held.load(Ordering::SeqCst) == 0
    })
    .await;
    // Other tests of this process may come and go.
    eventually("descriptors are back", || descriptors() <= before + 60).await;
}

#[tokio::test]
async fn finish_ends_all_sessions() {
    let (server, shell) = server(|_| {}).await;
    let url = server.exec(sh("sleep 1000")).unwrap().url;
    let (mut client, _) = SpdyClient::exec(&url, &["error", "stdout", "stderr"]).await;
    eventually("the command runs", || {
        shell.held.load(Ordering::SeqCst) == 1
    })
    .await;
    server.finish().await;
    while client.step().await {}
    eventually("the command is let go", || {
        shell.held.load(Ordering::SeqCst) == 0
    })
    .await;
}
