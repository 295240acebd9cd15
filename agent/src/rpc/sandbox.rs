//! `ConfigureSandbox` and `Shutdown`: the beginning and the end.

use std::sync::Arc;
use std::time::Duration;

use agent_api::v1::{ConfigureSandboxRequest, Empty, ShutdownRequest};

use crate::Error;
use crate::agent::Agent;
use crate::container::signal::Whom;
use crate::guest::{clock, network};
use crate::mode::Mode;

/// SIGTERM.
const TERM: u32 = 15;

/// Longest grace: whoever asks for more means for ever, and that is not an end.
const LONGEST_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the reply to `Shutdown` may take to reach the client.
const REPLY: Duration = Duration::from_millis(200);

pub(super) async fn configure(
    agent: Arc<Agent>,
    request: ConfigureSandboxRequest,
) -> Result<Empty, Error> {
    if agent.mode == Mode::Guest {
        if !request.network_namespace.is_empty() || request.host_ipc || request.host_uts {
            return Err(Error::NotInThisMode(
                "sharing namespaces of the node",
                "on the host",
            ));
        }
        if agent.sandbox().is_err() {
            clock::set(request.time_ns)?;
            // Before the sandbox, whose sysctls may be those of an interface.
            network::configure(request.network.as_ref())?;
        }
    } else if request.network.is_some() {
        return Err(Error::NotInThisMode("configuring a network", "in a guest"));
    }
    let sandbox_id = request.sandbox_id.clone();
    agent.configure(request).await?;
    tracing::info!(sandbox_id, "sandbox configured");
    if agent.mode == Mode::Guest {
        // While nobody waits: the first container may still be a while.
        tokio::spawn(async move { agent.later_modules.load().await });
    }
    Ok(Empty {})
}

/// Ends every container, then the agent. The client may already have gone.
pub(super) async fn shut_down(agent: Arc<Agent>, request: ShutdownRequest) -> Result<Empty, Error> {
    let grace = Duration::from_millis(request.grace_ms).min(LONGEST_GRACE);
    tracing::info!(?grace, "shutting down");
    let containers = agent.containers("");
    for container in &containers {
        container.signal(TERM, Whom::First)?;
    }
    let all_exited = async {
        for container in &containers {
            container.exited().await;
        }
    };
    if !grace.is_zero() {
        // Whoever is left is killed below.
        let _ = tokio::time::timeout(grace, all_exited).await;
    }
    for container in &containers {
        agent.remove(&container.id).await?;
    }
    if let Ok(sandbox) = agent.sandbox() {
        sandbox.end();
    }
    tokio::spawn(async move {
        tokio::time::sleep(REPLY).await;
        agent.ended.notify_one();
    });
    Ok(Empty {})
}
