//! Attach: several clients at one container, and what becomes of its stdin when they go.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::runtime::{Container, Pod, Runtime, Streams, container_config};
use e2e::spdy::{Connection, Frame};
use k8s_cri::v1::ContainerState;

use super::PATIENCE;
use super::client::{CLOSE, Client, STDIN};

/// Bursts that a container writes, each of one long line; together more than a client that does not
/// read is given on the way.
const BURSTS: usize = 64;
/// Bytes of a burst.
const BURST: usize = 128 << 10;

/// For a container to write all of it, in an emulated node.
const WRITTEN_WITHIN: Duration = Duration::from_secs(120);

under_every_handler!(clients_come_and_go_and_a_slow_one_holds_nobody_up);

async fn clients_come_and_go_and_a_slow_one_holds_nobody_up(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.shared_pod(handler).await?;
    stdin_outlives_a_client(&mut pod).await?;
    stdin_once_ends_with_its_client(&mut pod).await?;
    a_slow_client_holds_nobody_up(&mut pod).await?;
    pod.clear().await
}

async fn stdin_outlives_a_client(pod: &mut Pod) -> Result<()> {
    let mut config = container_config("stays", &["cat"]);
    config.stdin = true;
    let mut container = pod.start(&config).await?;
    for word in ["first", "second"] {
        let url = container.attach_url(Streams::All).await?;
        let mut client = Connection::connect(&url, "v4.channel.k8s.io").await?;
        let ids = client.open_all(Streams::All.types()).await?;
        client.send(ids[1], word.as_bytes()).await?;
        until_shown(&mut client, ids[2], word).await?;
        client.finish(ids[1]).await?;
    }
    let state = container.status().await?.state();
    assert_eq!(state, ContainerState::ContainerRunning);
    Ok(())
}

async fn until_shown(client: &mut Connection, stream: u32, text: &str) -> Result<()> {
    let mut shown = Vec::new();
    while shown != text.as_bytes() {
        match client.next().await?.context("the session goes on")? {
            Frame::Data(id, _) if id == stream => shown.extend(client.payload()),
            _ => {}
        }
        let so_far = text.as_bytes().starts_with(&shown);
        ensure!(so_far, "{}", String::from_utf8_lossy(&shown));
    }
    Ok(())
}

async fn stdin_once_ends_with_its_client(pod: &mut Pod) -> Result<()> {
    let script = "read line; echo got $line; cat; exit 3";
    let mut config = container_config("once", &["sh", "-c", script]);
    config.stdin = true;
    config.stdin_once = true;
    let mut container = pod.start(&config).await?;
    let url = container.attach_url(Streams::All).await?;
    let mut client = Client::connect(&url).await?;
    client.send(STDIN, b"a line\nand more").await?;
    client.send(CLOSE, &[STDIN]).await?;
    let said = client.finish().await?;
    assert_eq!(
        String::from_utf8_lossy(&said.stdout),
        "got a line\nand more"
    );
    assert_eq!(container.exited().await?.exit_code, 3);
    Ok(())
}

async fn a_slow_client_holds_nobody_up(pod: &mut Pod) -> Result<()> {
    // Slowly enough for whoever reads at all.
    let script = format!(
        "read a; read b; read c; for i in $(seq {BURSTS}); do dd if=/dev/zero bs={BURST} count=1 2> /dev/null; echo; \
         sleep 0.1; done"
    );
    let mut config = container_config("writes", &["sh", "-c", &script]);
    config.stdin = true;
    let mut container = pod.start(&config).await?;
    let mut slow = attached(&mut container).await?;
    let mut first = attached(&mut container).await?;
    let mut second = attached(&mut container).await?;
    // Whose line has arrived is attached.
    for (client, ids) in [&mut slow, &mut first, &mut second] {
        client.send(ids[1], b"go\n").await?;
    }
    let (outputs_of_first, outputs_of_second) = (outputs(&first.1), outputs(&second.1));
    let both = async {
        tokio::try_join!(
            first.0.collect(&outputs_of_first),
            second.0.collect(&outputs_of_second)
        )
    };
    let (one, other) = tokio::time::timeout(WRITTEN_WITHIN, both)
        .await
        .context("the container does not come to its end")??;
    for (what, ids) in [(one, &first.1), (other, &second.1)] {
        assert_eq!(what[&ids[2]].len(), BURSTS * (BURST + 1));
    }
    assert_eq!(container.exited().await?.exit_code, 0);
    let logged = container.log_lines()?.into_iter();
    let logged: usize = logged.map(|(_, _, text)| text.len()).sum();
    assert_eq!(logged, BURSTS * BURST, "the log has all of it");

    let what = slow.0.collect(&outputs(&slow.1)).await?;
    let (error, output) = (&what[&slow.1[0]], &what[&slow.1[2]]);
    let error = String::from_utf8_lossy(error);
    assert!(output.len() < BURSTS * BURST, "it was not slow");
    assert!(error.contains("Failure"), "{error}");
    Ok(())
}

/// A client of a container.
async fn attached(container: &mut Container) -> Result<(Connection, Vec<u32>)> {
    let url = container.attach_url(Streams::All).await?;
    let mut client = Connection::connect(&url, "v4.channel.k8s.io").await?;
    let ids = client.open_all(Streams::All.types()).await?;
    Ok((client, ids))
}

/// The streams that the server ends: all but stdin.
fn outputs(ids: &[u32]) -> Vec<u32> {
    [&ids[..1], &ids[2..]].concat()
}
