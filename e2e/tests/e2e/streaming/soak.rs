//! Sessions of all kinds, dropped at any moment, leave descriptors, threads, processes and memory as
//! they were.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::process::{self, Process};
use e2e::runtime::{Container, Pod, Runtime, Streams, container_config, pod_config};
use e2e::spdy::Connection;
use futures::future::try_join_all;

use super::PATIENCE;
use super::client::{Client, STDIN};

/// How many sessions, if it is set; else few enough for an emulated node.
const SESSIONS: &str = "BULKHEAD_E2E_SESSIONS";
/// Sessions at once.
const AT_ONCE: usize = 5;
/// Sessions after which nothing is new any more: memory that is used again is not a leak. How much that is
/// depends on which of them meet, so it takes some.
const WARM_UP: usize = 60;
const WARM_UP_PART: usize = 4;

/// Where the pod sends everything back.
const ECHO: u16 = 8081;

/// What a process may need more than before, because memory is not handed out in the same order: windows of five
/// sessions at once, and as much again in holes. A thousand sessions went up and down within it.
const MEMORY: u64 = 6 << 20;
/// For what was dropped to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(60);
/// Longest time that a session is left alone.
const LONGEST_MS: u64 = 400;

under_every_handler!(sessions_that_are_dropped_at_any_moment_leave_nothing);

async fn sessions_that_are_dropped_at_any_moment_leave_nothing(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.run_pod(handler, &pod_config("soak")).await?;
    let script = format!("nc -ll -p {ECHO} -e cat & while :; do cat; sleep 1; done");
    let mut config = container_config("c", &["sh", "-c", &script]);
    config.stdin = true;
    let mut container = pod.start(&config).await?;
    let seed = std::process::id().into();
    eprintln!("seed {seed}");
    let mut dice = Dice(seed);
    let sessions = sessions(handler);
    let warm_up = WARM_UP.max(sessions / WARM_UP_PART);
    drop_sessions(&pod, &container, warm_up, &mut dice).await?;
    let processes = process::ours()?;
    let before = settled(&processes, &mut container).await?;
    drop_sessions(&pod, &container, sessions, &mut dice).await?;
    check_as_before(&processes, &mut container, &before).await?;
    pod.finish().await
}

fn sessions(handler: &str) -> usize {
    let asked = std::env::var(SESSIONS)
        .ok()
        .and_then(|count| count.parse().ok());
    asked.unwrap_or(if handler == "kvm" { 60 } else { 120 })
}

async fn drop_sessions(
    pod: &Pod,
    container: &Container,
    count: usize,
    dice: &mut Dice,
) -> Result<()> {
    for _ in 0..count.div_ceil(AT_ONCE) {
        let some = (0..AT_ONCE).map(|_| {
            let (kind, after_ms) = (dice.below(7), dice.below(LONGEST_MS));
            let (pod, container) = (pod.clone(), container.clone());
            async move {
                let session = session(kind, pod, container);
                // Wherever it is by then, it is dropped.
                match tokio::time::timeout(Duration::from_millis(after_ms), session).await {
                    Ok(ended) => ended.with_context(|| format!("session of kind {kind}")),
                    Err(_) => Ok(()),
                }
            }
        });
        try_join_all(some).await?;
    }
    Ok(())
}

/// A session that goes on until it is dropped.
async fn session(kind: u64, mut pod: Pod, mut container: Container) -> Result<()> {
    match kind {
        0 => {
            let url = container.exec_url(&["yes"], Streams::Output).await?;
            spdy(&url, Streams::Output).await
        }
        1 => {
            let command = ["sh", "-c", "sleep 1000 & exec cat"];
            let url = container.exec_url(&command, Streams::All).await?;
            spdy(&url, Streams::All).await
        }
        2 => {
            let url = container.exec_url(&["sh"], Streams::Terminal).await?;
            spdy(&url, Streams::Terminal).await
        }
        3 => {
            let url = container.attach_url(Streams::All).await?;
            spdy(&url, Streams::All).await
        }
        4 => {
            let url = container.exec_url(&["cat"], Streams::All).await?;
            web_socket(&url).await
        }
        5 => {
            let url = container.attach_url(Streams::All).await?;
            web_socket(&url).await
        }
        _ => ports(&pod.ports_url(&[]).await?).await,
    }
}

async fn spdy(url: &str, streams: Streams) -> Result<()> {
    let mut client = Connection::connect(url, "v4.channel.k8s.io").await?;
    let ids = client.open_all(streams.types()).await?;
    if streams != Streams::Output {
        client.send(ids[1], b"echo hello\n").await?;
    }
    while client.next().await?.is_some() {}
    Ok(())
}

async fn web_socket(url: &str) -> Result<()> {
    let mut client = Client::connect(url).await?;
    client.send(STDIN, b"hello\n").await?;
    client.finish().await?;
    Ok(())
}

async fn ports(url: &str) -> Result<()> {
    let mut client = Connection::connect(url, "portforward.k8s.io").await?;
    for request in 0..4 {
        let streams = client.open_port(ECHO, request).await?;
        client.send(streams.data, b"hello").await?;
    }
    while client.next().await?.is_some() {}
    Ok(())
}

/// What the node, the pod and our processes hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    /// Descriptors and threads of each process of ours.
    ours: Vec<(String, usize, usize)>,
    /// What runs in the container.
    processes: usize,
}

impl Held {
    async fn now(ours: &[Process], container: &mut Container) -> Result<Self> {
        let counts = ours.iter().map(|process| {
            Ok((
                process.name.clone(),
                process.descriptors()?,
                process.threads()?,
            ))
        });
        let ours = counts.collect::<Result<Vec<_>>>()?;
        let processes = container.output(&["ps"]).await?.lines().count();
        Ok(Self { ours, processes })
    }

    /// Nothing is more than `before`. A thread may have gone that waited for work.
    fn is_within(&self, before: &Self) -> bool {
        let mut pairs = self.ours.iter().zip(&before.ours);
        let ours = pairs.all(
            |((_, descriptors, threads), (_, most_descriptors, most_threads))| {
                descriptors <= most_descriptors && threads <= most_threads
            },
        );
        ours && self.processes <= before.processes
    }
}

/// What is held once nothing changes any more, with the memory of each process.
async fn settled(ours: &[Process], container: &mut Container) -> Result<(Held, Vec<u64>)> {
    let deadline = Instant::now() + GONE_WITHIN;
    let mut last = Held::now(ours, container).await?;
    loop {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let now = Held::now(ours, container).await?;
        if now == last {
            return Ok((now, memory(ours)?));
        }
        ensure!(Instant::now() < deadline, "{now:?} does not settle");
        last = now;
    }
}

fn memory(ours: &[Process]) -> Result<Vec<u64>> {
    ours.iter().map(Process::private_memory).collect()
}

async fn check_as_before(
    ours: &[Process],
    container: &mut Container,
    (before, memory_before): &(Held, Vec<u64>),
) -> Result<()> {
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        let now = Held::now(ours, container).await?;
        if now.is_within(before) {
            break;
        }
        ensure!(Instant::now() < deadline, "{before:?} before, {now:?} now");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    for ((process, before), now) in ours.iter().zip(memory_before).zip(memory(ours)?) {
        eprintln!(
            "{}: {} KiB before, {} KiB now",
            process.name,
            before / 1024,
            now / 1024
        );
        ensure!(
            now <= before + MEMORY,
            "{} has {now} bytes, {before} before",
            process.name
        );
    }
    Ok(())
}

/// Numbers that nobody foresees (xorshift), but that come again with the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
