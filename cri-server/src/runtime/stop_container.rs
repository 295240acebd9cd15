//! `StopContainer`: ask, wait, kill.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cri_api::v1::{StopContainerRequest, StopContainerResponse};
use sandbox::{Kind, Signal};
use tracing::info;

use crate::containers::{Container, ContainerState};
use crate::error::{Doing, Error, Result};
use crate::{CriServer, watch};

/// Idempotent, and never waits for another call: a call with less patience kills at once.
pub(super) async fn stop_container(
    server: Arc<CriServer>,
    request: StopContainerRequest,
) -> Result<StopContainerResponse> {
    if let Some(container) = server.containers.find(&request.container_id)? {
        let grace = Duration::from_secs(u64::try_from(request.timeout).unwrap_or(0));
        stop(&server, &container, grace).await?;
    }
    Ok(StopContainerResponse {})
}

/// Stops a container; on return its end is in the record.
pub(super) async fn stop(server: &CriServer, container: &Container, grace: Duration) -> Result<()> {
    if watch::has_ended(&container.record.get()) {
        return Ok(());
    }
    let Some(workload) = container.workload.get() else {
        // Its sandbox is lost, and nobody else would tell.
        watch::lose(container, "its pod is gone").await;
        return Ok(());
    };
    // What was never started has nothing to tidy up.
    let runs = container.record.get().state == ContainerState::Running;
    if runs && !grace.is_zero() {
        ask(container).await?;
        if ended_within(container, grace).await {
            return Ok(());
        }
        info!(container_id = %container.id, ?grace, "container is killed: it did not stop in time");
    }
    let kill = workload.signal(Signal::KILL).await;
    let limit = Duration::from_secs(server.config.stop_timeout_s);
    if ended_within(container, limit).await {
        return Ok(());
    }
    passed(kill).doing(format!("kill container {}", container.id))?;
    Err(Error::new(
        Kind::TimedOut,
        format!(
            "container {} was killed and has not ended after {limit:?}; \
             its processes hang in the kernel",
            container.id
        ),
    ))
}

/// Sends the stop signal, once however often the call is retried.
async fn ask(container: &Container) -> Result<()> {
    if container.asked_to_stop.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    let signal = Signal(container.record.get().stop_signal);
    let asked = passed(container.workload()?.signal(signal).await);
    if asked.is_err() {
        container.asked_to_stop.store(false, Ordering::Release);
    }
    asked.doing(format!("ask container {} to stop", container.id))
}

/// A process that is gone needs no signal; its end is on the way.
fn passed(signalled: sandbox::Result<()>) -> sandbox::Result<()> {
    match signalled {
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::WrongState) => Ok(()),
        result => result,
    }
}

async fn ended_within(container: &Container, limit: Duration) -> bool {
    let ended = container.record.wait_until(watch::has_ended);
    tokio::time::timeout(limit, ended).await.is_ok()
}
