//! What an operator asks a running server: `console`, `explain`, `version`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use cri_api::v1::runtime_service_client::RuntimeServiceClient;
use cri_api::v1::{PodSandboxStatusRequest, VersionRequest};
use cri_server::config::Config;
use tonic::transport::{Channel, Endpoint};

/// The fact under which a sandbox tells where its console is kept.
const CONSOLE: &str = "console";

/// Shows the boot messages of a pod's machine.
pub(crate) async fn console(config: &Config, pod: &str) -> Result<()> {
    let facts = facts(config, pod).await?;
    let Some(path) = facts.get(CONSOLE) else {
        bail!("pod {pod} has no console: it does not run in a virtual machine");
    };
    let mut text = std::fs::File::open(path).with_context(|| format!("open {path}"))?;
    std::io::copy(&mut text, &mut std::io::stdout().lock()).context("show the console")?;
    Ok(())
}

/// Shows what is known of a pod.
pub(crate) async fn explain(config: &Config, pod: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for (name, value) in facts(config, pod).await? {
        writeln!(out, "{name}: {value}")?;
    }
    Ok(())
}

/// Shows the versions of client and server.
pub(crate) async fn version(config: &Config) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "client: bulkhead {}", env!("CARGO_PKG_VERSION"))?;
    let request = VersionRequest::default();
    let answer = client(&config.socket)
        .await?
        .version(request)
        .await?
        .into_inner();
    writeln!(
        out,
        "server: {} {}",
        answer.runtime_name, answer.runtime_version
    )?;
    Ok(())
}

async fn facts(config: &Config, pod: &str) -> Result<BTreeMap<String, String>> {
    let request = PodSandboxStatusRequest {
        pod_sandbox_id: pod.to_string(),
        verbose: true,
    };
    let answer = client(&config.socket)
        .await?
        .pod_sandbox_status(request)
        .await;
    let answer = answer
        .map_err(|status| anyhow::anyhow!("{}", status.message()))?
        .into_inner();
    let explain = answer
        .info
        .get("explain")
        .context("the server explains nothing")?;
    serde_json::from_str(explain).context("read what the server explains")
}

async fn client(socket: &Path) -> Result<RuntimeServiceClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
    let channel = endpoint.connect().await;
    let channel = channel.with_context(|| format!("reach the server on {}", socket.display()))?;
    Ok(RuntimeServiceClient::new(channel))
}
