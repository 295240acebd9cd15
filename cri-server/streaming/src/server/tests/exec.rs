//! Exec and attach over SPDY.

use super::spdy_client::SpdyClient;
use super::*;

const SUCCESS: &str = r#"{"metadata":{},"status":"Success"}"#;
const OUTPUT: [&str; 3] = ["error", "stdout", "stderr"];

#[tokio::test]
async fn output_and_exit_code_arrive_and_the_status_comes_before_the_ends_of_the_streams() {
    let (server, _) = server(|_| {}).await;
    let url = server
        .exec(sh("echo out; echo err >&2; exit 3"))
        .unwrap()
        .url;
    let (mut client, ids) = SpdyClient::exec(&url, &OUTPUT).await;
    client.until_ended(&ids).await;
    assert_eq!(client.text(ids[1]), "out\n");
    assert_eq!(client.text(ids[2]), "err\n");
    let status: serde_json::Value = serde_json::from_str(&client.text(ids[0])).unwrap();
    assert_eq!(status["reason"], "NonZeroExitCode");
    assert_eq!(status["details"]["causes"][0]["message"], "3");
    assert_eq!(client.ended, [ids[0], ids[1], ids[2]]);
    drop(client);
    eventually("the session ends", || server.counts().ended == 1).await;
    assert_eq!(server.counts().clients_gone, 0);
}

#[tokio::test]
async fn clients_of_the_first_versions_get_text() {
    for protocol in ["channel.k8s.io", "v2.channel.k8s.io", "v3.channel.k8s.io"] {
        let (server, _) = server(|_| {}).await;
        let url = server.exec(sh("exit 3")).unwrap().url;
        let mut client = SpdyClient::connect(&url, &[protocol]).await;
        let error = client.open(&[("streamtype", "error")]).await;
        let stdout = client.open(&[("streamtype", "stdout")]).await;
        let stderr = client.open(&[("streamtype", "stderr")]).await;
        client.until_ended(&[error, stdout, stderr]).await;
        let text = client.text(error);
        assert_eq!(
            text,
            "command terminated with non-zero exit code: exit status 3"
        );
    }
}

#[tokio::test]
async fn the_end_of_stdin_reaches_the_command_and_all_it_read_comes_back() {
    let (server, _) = server(|_| {}).await;
    let mut request = sh("cat");
    request.stdin = true;
    let url = server.exec(request).unwrap().url;
    let types = ["error", "stdin", "stdout", "stderr"];
    let (mut client, ids) = SpdyClient::exec(&url, &types).await;
    let text = "x".repeat(30_000);
    client.send(ids[1], text.as_bytes()).await;
    client.send(ids[1], b"end").await;
    client.finish(ids[1]).await;
    client.until_ended(&[ids[0], ids[2], ids[3]]).await;
    assert_eq!(client.text(ids[0]), SUCCESS);
    assert_eq!(client.text(ids[2]), text + "end");
}

#[tokio::test]
async fn a_command_ends_while_the_client_keeps_its_stdin_open() {
    let (server, _) = server(|_| {}).await;
    let mut request = sh("echo done");
    request.stdin = true;
    let url = server.exec(request).unwrap().url;
    let types = ["error", "stdin", "stdout", "stderr"];
    let (mut client, ids) = SpdyClient::exec(&url, &types).await;
    client.until_ended(&[ids[0], ids[2], ids[3]]).await;
    assert_eq!(client.text(ids[2]), "done\n");
    // What is still sent is thrown away, and the connection closed in the end.
    client.send(ids[1], &[0; 100_000]).await;
    while client.step().await {}
    eventually("the session ends", || server.counts().ended == 1).await;
}

#[tokio::test]
async fn what_a_command_leaves_running_does_not_hold_the_session() {
    let (server, _) = server(|_| {}).await;
    let url = server.exec(sh("sleep 100 & echo $!")).unwrap().url;
    let (mut client, ids) = SpdyClient::exec(&url, &OUTPUT).await;
    let ended = client.until_ended(&ids);
    tokio::time::timeout(Duration::from_secs(50), ended)
        .await
        .unwrap();
    assert_eq!(client.text(ids[0]), SUCCESS);
    let left: i32 = client.text(ids[1]).trim().parse().unwrap();
    let left = rustix::process::Pid::from_raw(left).unwrap();
    rustix::process::kill_process(left, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn large_output_arrives_whole_at_a_client_that_reads_late() {
    let (server, _) = server(|_| {}).await;
    let size = 24 << 20;
    let url = server
        .exec(sh(&format!("head -c {size} /dev/zero")))
        .unwrap()
        .url;
    let (mut client, ids) = SpdyClient::exec(&url, &OUTPUT).await;
    // Longer than any drain: the command has not ended, for nobody has read.
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.until_ended(&ids).await;
    assert_eq!(client.received[&ids[1]].len(), size);
    assert_eq!(client.text(ids[0]), SUCCESS);
}

#[tokio::test]
async fn a_command_that_can_t_be_started_is_explained() {
    let (server, _) = server(|_| {}).await;
    let mut request = sh("");
    request.cmd = vec!["/no/such/program".to_owned()];
    let url = server.exec(request).unwrap().url;
    let (mut client, ids) = SpdyClient::exec(&url, &OUTPUT).await;
    client.until_ended(&ids).await;
    let status = client.text(ids[0]);
    let expected = "Internal error occurred: error executing command in container: No such file";
    assert!(status.contains(expected), "{status}");
}

#[tokio::test]
async fn an_attached_terminal_echoes_follows_its_size_and_ends_with_stdin() {
    let (server, shell) = server(|_| {}).await;
    let request = AttachRequest {
        container_id: "c1".to_owned(),
        stdin: true,
        stdout: true,
        tty: true,
        ..AttachRequest::default()
    };
    let url = server.attach(request).unwrap().url;
    let types = ["error", "stdin", "stdout", "resize"];
    let (mut client, ids) = SpdyClient::exec(&url, &types).await;
    client.send(ids[3], b"{\"Width\":80,\"Height\":24}\n").await;
    while client.text(ids[2]) != "80x24" {
        assert!(client.step().await);
    }
    client.send(ids[1], b"hello").await;
    client.finish(ids[1]).await;
    client.until_ended(&[ids[0], ids[2]]).await;
    assert_eq!(client.text(ids[2]), "80x24hello");
    assert_eq!(client.text(ids[0]), SUCCESS, "attach tells no exit code");
    assert_eq!(shell.held.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn pings_are_answered_and_strange_streams_refused() {
    let (server, _) = server(|_| {}).await;
    let url = server.exec(sh("true")).unwrap().url;
    let mut client = SpdyClient::connect(&url, &["v4.channel.k8s.io"]).await;
    client.control(6, &[0, 0, 0, 1]).await;
    while client.pings.is_empty() {
        assert!(client.step().await);
    }
    assert_eq!(client.pings, [1]);
    let strange = client.open(&[("streamtype", "video")]).await;
    let unwanted = client.open(&[("streamtype", "stdin")]).await;
    assert_eq!(client.reset, [strange, unwanted]);
    let mut ids = Vec::new();
    for kind in OUTPUT {
        ids.push(client.open(&[("streamtype", kind)]).await);
    }
    client.until_ended(&ids).await;
    assert_eq!(client.text(ids[0]), SUCCESS);
}

#[tokio::test]
async fn a_ping_is_answered_after_the_last_frame() {
    let (server, _) = server(|limits| limits.linger = Duration::from_secs(60)).await;
    let url = server.exec(sh("true")).unwrap().url;
    let (mut client, ids) = SpdyClient::exec(&url, &OUTPUT).await;
    client.until_ended(&ids).await;
    client.control(6, &[0, 0, 0, 1]).await;
    let answer = async {
        while client.pings.is_empty() {
            assert!(client.step().await);
        }
    };
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, answer).await.unwrap();
    drop(client);
    eventually("the session ends", || server.counts().ended == 1).await;
}
