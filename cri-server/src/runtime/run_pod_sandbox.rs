//! `RunPodSandbox`: network, sandbox, record; then the pod is listed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cri_api::v1::{PodSandboxConfig, RunPodSandboxRequest, RunPodSandboxResponse};
use prost::Message;
use sandbox::{Kind, SandboxId, Sandboxer};
use sha2::{Digest, Sha256};
use tracing::info;

use crate::clock::now_ns;
use crate::error::{Doing, Error, Result};
use crate::in_flight::Fingerprint;
use crate::kept::Kept;
use crate::metrics::Step;
use crate::network::Wishes;
use crate::pods::{Pod, PodEvent, PodKey, PodState, SavedPod};
use crate::rollback::Rollback;
use crate::sandbox_spec::SandboxPlan;
use crate::{CriServer, events, identifier, watch};

/// Which pod, for the log.
pub(super) fn subject(request: &RunPodSandboxRequest) -> String {
    let metadata = request
        .config
        .as_ref()
        .and_then(|config| config.metadata.as_ref());
    metadata
        .map(|pod| format!("{}/{}", pod.namespace, pod.name))
        .unwrap_or_default()
}

pub(super) async fn run_pod_sandbox(
    server: Arc<CriServer>,
    request: RunPodSandboxRequest,
) -> Result<RunPodSandboxResponse> {
    let handler = request.runtime_handler;
    let config = request
        .config
        .ok_or_else(|| Error::invalid("the request has no pod config"))?;
    let key = PodKey::try_from(config.metadata.as_ref())?;
    let sandboxer = server.handlers.available(&handler)?.clone();
    let print = fingerprint(&config, &handler);
    let id = SandboxId(identifier::random()?);
    let features = sandboxer.features();
    let plan = SandboxPlan::new(id, &config, &handler, &features, now_ns(), print.clone())?;
    let existing = || existing(&server, &key, &print);
    let make = || make(server.clone(), sandboxer, plan);
    let id = server
        .pod_calls
        .join(key.clone(), print.clone(), existing, make)
        .await?;
    Ok(RunPodSandboxResponse {
        pod_sandbox_id: id.0,
    })
}

fn fingerprint(config: &PodSandboxConfig, handler: &str) -> Fingerprint {
    let mut hash = Sha256::new();
    hash.update(config.encode_to_vec());
    hash.update(handler);
    format!("{:x}", hash.finalize())
}

/// The answer to a retry whose first try succeeded, or to a clash of names.
fn existing(server: &CriServer, key: &PodKey, print: &str) -> Option<Result<SandboxId>> {
    let pod = server.pods.named(key)?;
    let record = pod.record.get();
    if record.fingerprint == print && record.state == PodState::Ready {
        return Some(Ok(pod.id.clone()));
    }
    let (how, what) = match record.state {
        PodState::Ready => ("with another configuration", "stop and remove it"),
        _ => ("and is stopped", "remove it"),
    };
    let message = format!(
        "{key} exists already {how}: {what} ({}), or use another attempt",
        pod.id
    );
    Some(Err(Error::new(Kind::AlreadyExists, message)))
}

async fn make(
    server: Arc<CriServer>,
    sandboxer: Arc<dyn Sandboxer>,
    plan: SandboxPlan,
) -> Result<SandboxId> {
    let mut undo = Rollback::default();
    let result = steps(&server, &*sandboxer, plan, &mut undo).await;
    undo.settle(result).await
}

async fn steps(
    server: &Arc<CriServer>,
    sandboxer: &dyn Sandboxer,
    plan: SandboxPlan,
    undo: &mut Rollback,
) -> Result<SandboxId> {
    let mut saved = plan.pod.clone();
    saved.network.namespace = plan
        .own_network
        .then(|| server.network.namespace_of(&saved.id));
    // In the database before anything is made: after a crash, what is half made is found by it.
    server.state.put(&saved).await?;
    let (state, id) = (server.state.clone(), saved.id.0.clone());
    undo.on_failure("forget the pod", async move {
        state.delete::<SavedPod>(&id).await
    });

    make_directories(server, &saved, undo).await?;
    let handler = server.handlers.name(&plan.pod.handler).to_owned();
    let started = Instant::now();
    let others = connect(server, &mut saved, &plan.network, undo).await?;
    let connected = Instant::now();
    let spec = plan.spec(saved.network.namespace.clone(), server.pod_dir(&saved.id));
    let sandbox = sandboxer.create(spec).await.doing("make the sandbox")?;
    let (network, own) = (connected - started, connected.elapsed());
    let network_own = network.saturating_sub(others);
    server.metrics.stepped(&handler, Step::Network, network);
    server.metrics.stepped(&handler, Step::Sandbox, own);
    if saved.network.namespace.is_some() {
        server
            .metrics
            .stepped(&handler, Step::NetworkOwn, network_own);
    }
    let wiring = sandbox.network_setup();
    if let Some(wiring) = wiring {
        server
            .metrics
            .stepped(&handler, Step::NetworkWiring, wiring);
    }
    let made = sandbox.clone();
    undo.on_failure("remove the sandbox", async move {
        made.stop(Duration::ZERO).await?;
        made.remove().await
    });

    saved.sandbox = Some(sandbox.save());
    saved.apply(PodEvent::Made)?;
    let id = saved.id.clone();
    let pod = Arc::new(Pod::new(
        Kept::create(&server.state, saved).await?,
        Some(sandbox.clone()),
    ));
    server.pods.insert(pod.clone());
    events::pod(server, &pod);
    watch::pod(server, &pod, &sandbox);
    let wiring = wiring.map(tracing::field::debug);
    info!(pod_id = %id, ?network, ?network_own, sandbox = ?own, wiring, "sandbox is ready");
    Ok(id)
}

async fn make_directories(server: &CriServer, pod: &SavedPod, undo: &mut Rollback) -> Result<()> {
    let failed = |error| Error::caused(Kind::Internal, "make the pod's directories", error);
    if !pod.log_directory.is_empty() {
        tokio::fs::create_dir_all(&pod.log_directory)
            .await
            .map_err(failed)?;
    }
    let directory = server.pod_dir(&pod.id);
    tokio::fs::create_dir_all(&directory)
        .await
        .map_err(failed)?;
    undo.on_failure("remove the pod's directory", async move {
        crate::host::remove_directory(&directory).await
    });
    Ok(())
}

/// Tells how long plugins took, and waiting for them.
async fn connect(
    server: &CriServer,
    pod: &mut SavedPod,
    wishes: &Wishes,
    undo: &mut Rollback,
) -> Result<Duration> {
    if pod.network.namespace.is_none() {
        return Ok(Duration::ZERO);
    }
    let (network, id, given) = (server.network.clone(), pod.id.clone(), pod.network.clone());
    undo.on_failure("release the network", async move {
        network.abandon(&id, &given).await
    });
    let namespace = server.network.create(&pod.id).await?;
    let connected = server.network.connect(pod, &namespace, wishes).await?;
    pod.network.ips = connected.ips;
    Ok(connected.others)
}
