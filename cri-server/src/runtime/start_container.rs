//! `StartContainer`: let the first process run.

use std::sync::Arc;
use std::time::Duration;

use cri_api::v1::{StartContainerRequest, StartContainerResponse};
use sandbox::{Container as Workload, Kind, Signal};
use tracing::warn;

use crate::clock::{now_ns, to_ns};
use crate::containers::{Container, ContainerEvent, ContainerState, SavedExit};
use crate::error::{Doing, Error, Result, chain};
use crate::{CriServer, watch};

/// Exit code of containers that could not be started, as other runtimes have it.
const NOT_STARTED: u8 = 128;

/// How long one that could not be started may take to be dead.
const BURIAL_LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn start_container(
    server: Arc<CriServer>,
    request: StartContainerRequest,
) -> Result<StartContainerResponse> {
    let container = server.containers.get(&request.container_id)?;
    let came_before = container.record.get().state == ContainerState::Created;
    let _one_at_a_time = container.lifecycle.lock().await;
    match container.record.get().state {
        ContainerState::Created => start(&server, &container).await?,
        // A retry that waited for the first try, which has succeeded.
        ContainerState::Running if came_before => {}
        state => return Err(not_now(&container, state)),
    }
    Ok(StartContainerResponse {})
}

async fn start(server: &CriServer, container: &Container) -> Result<()> {
    server.pods.get(&container.pod.0)?.sandbox()?;
    let workload = container.workload()?;
    if let Err(error) = workload.start().await {
        let error: Error = error.into();
        let exit = SavedExit {
            code: NOT_STARTED,
            reason: "StartError".into(),
            message: chain(&error),
            finished_at_ns: now_ns(),
        };
        give_up(container, &**workload, exit).await;
        return Err(error).doing(format!("start container {}", container.id));
    }
    let started = workload
        .status()
        .await
        .ok()
        .and_then(|status| status.started_at);
    let started_at_ns = started.map_or_else(now_ns, to_ns);
    let mut denied = None;
    let note = |record: &mut crate::containers::SavedContainer| {
        record.started_at_ns = started_at_ns;
        denied = record.apply(ContainerEvent::Started).err();
    };
    container.record.observe(note).await;
    denied.map_or(Ok(()), Err)
}

/// Notes that it was not started. Where only the answer was lost it runs all the same, and the
/// kubelet is about to start another beside it: so it is killed before.
async fn give_up(container: &Container, workload: &dyn Workload, exit: SavedExit) {
    let exit = container.start_error.get_or_init(|| exit).clone();
    if let Err(error) = kill(container, workload).await {
        warn!(container_id = %container.id, error = chain(&error), "it may run although its start failed");
    }
    container.record.observe(|record| record.end(exit)).await;
}

async fn kill(container: &Container, workload: &dyn Workload) -> Result<()> {
    match workload.signal(Signal::KILL).await {
        // It has ended by itself.
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::WrongState) => return Ok(()),
        signalled => signalled.doing(format!("kill container {}", container.id))?,
    }
    let ended = container.record.wait_until(watch::has_ended);
    match tokio::time::timeout(BURIAL_LIMIT, ended).await {
        Ok(_) => Ok(()),
        Err(_) => {
            let message = format!("it was killed and has not ended after {BURIAL_LIMIT:?}");
            Err(Error::new(Kind::TimedOut, message))
        }
    }
}

fn not_now(container: &Container, state: ContainerState) -> Error {
    Error::new(
        Kind::WrongState,
        format!("container {} can't be started: it is {state}", container.id),
    )
}
