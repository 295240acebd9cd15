//! `StartContainer`: let the first process run.

use std::sync::Arc;

use cri_api::v1::{StartContainerRequest, StartContainerResponse};
use sandbox::Kind;

use crate::CriServer;
use crate::clock::{now_ns, to_ns};
use crate::containers::{Container, ContainerEvent, ContainerState, SavedExit};
use crate::error::{Doing, Error, Result, chain};

/// Exit code of containers that could not be started, as other runtimes have it.
const NOT_STARTED: u8 = 128;

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
        container.record.observe(|record| record.end(exit)).await;
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

fn not_now(container: &Container, state: ContainerState) -> Error {
    Error::new(
        Kind::WrongState,
        format!("container {} can't be started: it is {state}", container.id),
    )
}
