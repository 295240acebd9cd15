//! A network in front of the node's own, for one test.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::runtime::Runtime;
use k8s_cri::v1::StatusRequest;
use serde_json::{Value, json};

const DIRECTORY: &str = "/etc/cni/net.d";
/// The network that a node has anyway.
const OF_NODE: &str = "network node ";
/// The server looks again by itself after half a minute, should it miss a change.
const PATIENCE: Duration = Duration::from_secs(60);

/// The file of a network that comes before the node's own. Dropped, it takes the file away.
#[derive(Debug)]
pub(super) struct Conflist {
    path: String,
}

impl Conflist {
    /// A network called `name` of `plugins`, once the server uses it.
    pub(super) async fn install(
        runtime: &mut Runtime,
        name: &str,
        plugins: &[Value],
    ) -> Result<Self> {
        let conflist = Self::write(name, "1.0.0", plugins)?;
        told(runtime, &format!("network {name} ")).await?;
        Ok(conflist)
    }

    /// The same without waiting, for a server that is still to start or will never be content.
    pub(super) fn write(name: &str, version: &str, plugins: &[Value]) -> Result<Self> {
        let path = format!("{DIRECTORY}/05-{name}.conflist");
        let network = json!({"cniVersion": version, "name": name, "plugins": plugins});
        fs::write(&path, network.to_string()).with_context(|| format!("write {path}"))?;
        Ok(Self { path })
    }

    /// Takes it away, and waits until the server uses the node's own again.
    pub(super) async fn remove(self, runtime: &mut Runtime) -> Result<()> {
        drop(self);
        told(runtime, OF_NODE).await
    }
}

impl Drop for Conflist {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Waits until the server says `words` of its network.
pub(super) async fn told(runtime: &mut Runtime, words: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let message = network_message(runtime).await?;
        if message.contains(words) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{words:?} is not in {message:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn network_message(runtime: &mut Runtime) -> Result<String> {
    let request = StatusRequest { verbose: false };
    let status = runtime.runtime.status(request).await?.into_inner().status;
    let conditions = status.context("a status")?.conditions;
    let of_network = conditions.into_iter().find(|c| c.r#type == "NetworkReady");
    Ok(of_network.context("a condition of the network")?.message)
}
