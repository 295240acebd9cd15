//! Plugins that fail, hang or are cut off: a clear error, addresses come back, nothing is left.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::runtime::{Runtime, pod_config};
use e2e::server;
use k8s_cri::v1::{ListPodSandboxRequest, PodSandboxConfig, RunPodSandboxRequest};
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::bridge::Bridge;
use super::conflist::{Conflist, told};
use super::node::output;
use super::plugin::Plugin;
use super::traces::Traces;
use super::web::Web;

const PATIENCE: Duration = Duration::from_secs(30);
const NETWORK: &str = "failing";
const PLUGIN: &str = "e2e-failing";

/// Debian's `bridge` and `host-local`, whose work is to be undone, before the plugin that fails.
fn chain(bridge: &Bridge) -> [Value; 2] {
    [bridge.plugin("10.93.0.0/24"), json!({"type": PLUGIN})]
}

/// What a pod gets instead of running.
async fn refused(runtime: &mut Runtime) -> Result<Status> {
    refused_as(runtime, pod_config("refused")).await
}

async fn refused_as(runtime: &mut Runtime, config: PodSandboxConfig) -> Result<Status> {
    let request = RunPodSandboxRequest {
        config: Some(config),
        runtime_handler: "namespaced".into(),
    };
    let answer = runtime.runtime.run_pod_sandbox(request).await;
    answer.map(drop).err().context("the pod is refused")
}

/// Waits until the server that was just started, or was given another network, uses that of the test.
async fn uses_ours(runtime: &mut Runtime) -> Result<()> {
    told(runtime, &format!("network {NETWORK} ")).await
}

#[tokio::test]
async fn a_failure_half_way_is_told_in_the_plugins_words_and_undone() -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let bridge = Bridge::to_be("e2e1");
    let _plugin = Plugin::passing_on(PLUGIN, "true")?;
    let conflist = Conflist::install(&mut runtime, NETWORK, &chain(&bridge)).await?;
    let before = Traces::take(NETWORK)?;
    for (add, words) in [
        (
            r#"echo '{"code": 100, "msg": "no more rules", "details": "table is full"}'; exit 1"#,
            &["code 100", "no more rules", "table is full"][..],
        ),
        (
            "echo to whom it may concern; exit 0",
            &["to whom it may concern"],
        ),
        ("echo out of memory >&2; exit 3", &["out of memory"]),
        ("kill -SEGV $$", &["signal"]),
    ] {
        let _plugin = Plugin::passing_on(PLUGIN, add)?;
        let status = refused(&mut runtime).await?;
        for word in [NETWORK, PLUGIN, "ADD"].iter().chain(words) {
            ensure!(status.message().contains(word), "{word} in {status:?}");
        }
        before.are_all(NETWORK).await?;
    }
    conflist.remove(&mut runtime).await
}

#[tokio::test]
async fn a_plugin_that_needs_long_is_waited_for_and_one_that_hangs_is_killed() -> Result<()> {
    server::end("TERM").await?;
    let config = "/run/e2e-patience.toml";
    std::fs::write(config, "[network.cni]\nadd_timeout_s = 20\n")?;
    let bridge = Bridge::to_be("e2e1");
    let _plugin = Plugin::passing_on(PLUGIN, "sleep 3")?;
    let conflist = Conflist::write(NETWORK, "1.0.0", &chain(&bridge))?;
    server::start_with(&["--config", config])?;
    let mut runtime = Runtime::connect(PATIENCE).await?;
    uses_ours(&mut runtime).await?;
    let before = Traces::take(NETWORK)?;
    Web::run(&mut runtime, "namespaced", &pod_config("patient"))
        .await?
        .pod
        .finish()
        .await?;

    let _plugin = Plugin::passing_on(PLUGIN, "sleep 98765 & sleep 98765")?;
    let begun = Instant::now();
    let status = refused(&mut runtime).await?;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    ensure!(status.message().contains("killed"), "{status:?}");
    ensure!(begun.elapsed() < Duration::from_secs(90), "{begun:?}");
    let left = output("pgrep -f sleep.98765");
    ensure!(left.is_err(), "its children are killed, too: {left:?}");
    before.are_all(NETWORK).await?;

    server::end("TERM").await?;
    drop(conflist);
    server::start()
}

#[tokio::test]
async fn a_pod_that_failed_after_it_was_connected_is_undone_as_soon_as_plugins_can() -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let bridge = Bridge::to_be("e2e1");
    let stuck = "/run/e2e-stuck";
    let _plugin = Plugin::doing(PLUGIN, "true", &format!("[ ! -e {stuck} ]"))?;
    let conflist = Conflist::install(&mut runtime, NETWORK, &chain(&bridge)).await?;
    let before = Traces::take(NETWORK)?;
    std::fs::write(stuck, "")?;
    let mut config = pod_config("abandoned");
    let linux = config.linux.as_mut().context("linux")?;
    // Nobody knows before the pod's network is there.
    let sysctl = "e2e_knows_better";
    linux
        .sysctls
        .insert(format!("net.ipv4.{sysctl}"), "1".into());
    let status = refused_as(&mut runtime, config).await?;
    ensure!(status.message().contains(sysctl), "{status:?}");

    let abandoned = Traces::take(NETWORK)?;
    assert_eq!(abandoned.namespaces, before.namespaces);
    assert_eq!(abandoned.records.len(), before.records.len() + 1);
    let request = ListPodSandboxRequest::default();
    let pods = runtime.runtime.list_pod_sandbox(request).await?;
    assert_eq!(pods.into_inner().items, [], "nobody is to remove it");
    std::fs::remove_file(stuck)?;
    before.are_all(NETWORK).await?;
    conflist.remove(&mut runtime).await
}

#[tokio::test]
async fn a_pool_without_addresses_is_told_and_serves_again_when_one_comes_back() -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let bridge = Bridge::to_be("e2e1");
    // The gateway has one of its two addresses.
    let conflist =
        Conflist::install(&mut runtime, NETWORK, &[bridge.plugin("10.93.1.0/30")]).await?;
    let before = Traces::take(NETWORK)?;
    let only = Web::run(&mut runtime, "namespaced", &pod_config("only")).await?;
    let status = refused(&mut runtime).await?;
    ensure!(
        status.message().contains("no IP addresses available"),
        "{status:?}"
    );
    only.pod.finish().await?;
    let next = Web::run(&mut runtime, "namespaced", &pod_config("next")).await?;
    next.pod.finish().await?;
    before.are_all(NETWORK).await?;
    conflist.remove(&mut runtime).await
}

#[tokio::test]
async fn a_namespace_that_others_deleted_costs_no_address() -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let bridge = Bridge::to_be("e2e1");
    let plugins = [bridge.plugin("10.93.0.0/24")];
    let conflist = Conflist::install(&mut runtime, NETWORK, &plugins).await?;
    let before = Traces::take(NETWORK)?;
    let web = Web::run(&mut runtime, "namespaced", &pod_config("robbed")).await?;
    output(&format!("ip netns delete bulkhead-{}", web.pod.id))?;
    web.pod.finish().await?;
    before.are_all(NETWORK).await?;
    conflist.remove(&mut runtime).await
}

#[tokio::test]
async fn what_a_server_was_killed_in_the_midst_of_is_undone_by_the_next() -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let bridge = Bridge::to_be("e2e1");
    let reached = "/run/e2e-reached";
    // With a child, as `bridge` has `host-local`, that would have given out an address too late.
    let hang = "sleep 98766 & sleep 98766";
    let plugin = Plugin::passing_on(PLUGIN, &format!("touch {reached}; {hang}"))?;
    let conflist = Conflist::install(&mut runtime, NETWORK, &chain(&bridge)).await?;
    let before = Traces::take(NETWORK)?;
    let mut client = runtime.clone();
    let call = tokio::spawn(async move { refused(&mut client).await });
    let deadline = Instant::now() + PATIENCE;
    while !std::fs::exists(reached)? {
        ensure!(Instant::now() < deadline, "the second plugin runs");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_ne!(Traces::take(NETWORK)?, before, "an address is given out");
    server::end("KILL").await?;
    call.await??;
    std::fs::remove_file(reached)?;
    // The network may be another one by then; its plugins are still needed.
    drop(conflist);
    server::start()?;
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let outlived = output("pgrep -f sleep.98766");
    ensure!(
        outlived.is_err(),
        "what the server left is killed: {outlived:?}"
    );
    before.are_all(NETWORK).await?;
    drop(plugin);
    told(&mut runtime, "network node ").await
}
