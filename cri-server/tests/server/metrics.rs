//! What operators scrape.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::node::{Node, pod};

#[tokio::test]
async fn calls_pods_and_deaths_are_counted() {
    let mut node = Node::start().await;
    let (id, container) = node.running().await;
    node.status("no such container").await.unwrap_err();
    let text = scrape(&node).await;
    for line in [
        "bulkhead_rpc_duration_seconds_count{rpc=\"RunPodSandbox\",code=\"Ok\"} 1",
        "bulkhead_rpc_duration_seconds_count{rpc=\"PullImage\",code=\"Ok\"} 1",
        "bulkhead_rpc_duration_seconds_count{rpc=\"ContainerStatus\",code=\"NotFound\"} 1",
        "bulkhead_pod_start_step_duration_seconds_count{handler=\"memory\",step=\"sandbox\"} 1",
        "bulkhead_pod_start_step_duration_seconds_count{handler=\"memory\",step=\"network_wiring\"} 1",
        "bulkhead_pods{handler=\"memory\",state=\"ready\"} 1",
        "bulkhead_containers{handler=\"memory\",state=\"running\"} 1",
        "bulkhead_images 1",
        "bulkhead_streaming_sessions_started_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
    // The pod is in the network of the node.
    assert!(!text.contains("step=\"network_own\""), "{text}");

    node.world.run_out_of_memory(&container);
    node.exited(&container).await;
    node.world.kill_sandbox(&id, "the kernel panicked");
    let counted = [
        "bulkhead_container_oom_kills_total{handler=\"memory\"} 1",
        "bulkhead_sandbox_deaths_total{handler=\"memory\"} 1",
    ];
    loop {
        let text = scrape(&node).await;
        if counted.iter().all(|line| text.contains(line)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_pod_that_was_asked_to_stop_is_no_death() {
    let mut node = Node::start().await;
    let id = node.run_pod(pod("web")).await.unwrap();
    node.stop_pod(&id).await.unwrap();
    let text = scrape(&node).await;
    assert!(!text.contains("bulkhead_sandbox_deaths_total"), "{text}");
    let stopped = "bulkhead_pods{handler=\"memory\",state=\"not_ready\"} 1";
    assert!(text.contains(stopped), "{text}");
}

#[tokio::test]
async fn nothing_else_is_served() {
    let node = Node::start().await;
    let status = |request: &'static str| {
        let answer = ask(node.metrics, request);
        async { answer.await.lines().next().unwrap_or_default().to_owned() }
    };
    assert_eq!(status("GET / HTTP/1.1").await, "HTTP/1.1 404 Not Found");
    assert_eq!(
        status("POST /metrics HTTP/1.1").await,
        "HTTP/1.1 405 Method Not Allowed"
    );
    assert_eq!(status("\u{1}\u{2}").await, "HTTP/1.1 400 Bad Request");
}

async fn scrape(node: &Node) -> String {
    let answer = ask(node.metrics, "GET /metrics HTTP/1.1").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.contains("application/openmetrics-text"), "{head}");
    body.to_owned()
}

async fn ask(address: SocketAddr, request: &'static str) -> String {
    let asked = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{request}\r\nhost: node\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    tokio::task::spawn_blocking(asked).await.unwrap()
}
