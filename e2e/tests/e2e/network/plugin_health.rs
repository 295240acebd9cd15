//! What plugins of CNI 1.1 are asked beside: how they are, and to forget what is not there any more.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::runtime::{Runtime, pod_config};
use e2e::server;
use serde_json::{Value, json};

use super::bridge::Bridge;
use super::conflist::{Conflist, told};
use super::plugin::Plugin;
use super::web::Web;

const PATIENCE: Duration = Duration::from_secs(30);
const NETWORK: &str = "healthy";
const PLUGIN: &str = "e2e-healthy";
const WELL: &str = "/run/e2e-well";
const COLLECTED: &str = "/run/e2e-collected.json";

/// Debian's `bridge`, which stops at 1.0, with what 1.1 adds.
const SCRIPT: &str = r#"#!/bin/sh
conf=$(cat)
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.1.0", "supportedVersions": ["1.0.0", "1.1.0"]}' ;;
STATUS) [ -e /run/e2e-well ] || { echo '{"code": 50, "msg": "agent is not up"}'; exit 1; } ;;
GC) echo "$conf" > /run/e2e-collected.new; mv /run/e2e-collected.new /run/e2e-collected.json ;;
*) echo "$conf" | jq -c '.cniVersion = "1.0.0" | del(.prevResult)' | /usr/lib/cni/bridge ;;
esac
"#;

#[tokio::test]
async fn plugins_are_asked_how_they_are_and_told_which_pods_there_are() -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    // Of an earlier run that failed.
    let _ = fs::remove_file(WELL);
    let bridge = Bridge::to_be("e2e2");
    let mut plugin = bridge.plugin("10.94.0.0/24");
    plugin["type"] = json!(PLUGIN);
    let _plugin = Plugin::install(PLUGIN, SCRIPT)?;
    let conflist = Conflist::write(NETWORK, "1.1.0", &[plugin])?;
    told(&mut runtime, "STATUS: code 50: agent is not up").await?;
    fs::write(WELL, "")?;
    told(&mut runtime, &format!("network {NETWORK} ")).await?;
    told(&mut runtime, "CNI 1.1.0").await?;

    let web = Web::run(&mut runtime, "namespaced", &pod_config("kept")).await?;
    let _ = fs::remove_file(COLLECTED);
    server::end("KILL").await?;
    server::start()?;
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let valid = collected().await?["cni.dev/valid-attachments"].clone();
    let kept = json!({"containerID": web.pod.id, "ifname": "eth0"});
    let is_listed = valid.as_array().is_some_and(|all| all.contains(&kept));
    ensure!(is_listed, "{kept} is to be in {valid}");

    web.pod.finish().await?;
    conflist.remove(&mut runtime).await?;
    for file in [WELL, COLLECTED] {
        fs::remove_file(file)?;
    }
    Ok(())
}

/// What the plugin was told to keep.
async fn collected() -> Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    while !fs::exists(COLLECTED)? {
        ensure!(Instant::now() < deadline, "the plugin is to collect");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(serde_json::from_slice(&fs::read(COLLECTED)?)?)
}
