//! What a crash left half made, and directories that belong to nobody.

use std::collections::HashSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sandbox::{Container as Workload, ContainerId, Kind};
use tracing::{info, warn};

use crate::containers::SavedContainer;
use crate::error::{Doing, Error, Result, chain};
use crate::runtime::create_container::{give_back, held};
use crate::{CriServer, host};

/// Removes what there is of a container whose making was cut short.
pub(super) async fn undo_container(
    server: &Arc<CriServer>,
    container: &SavedContainer,
) -> Result<()> {
    let id = &container.id;
    if let Some(sandbox) = server
        .pods
        .find(&container.pod.0)?
        .and_then(|p| p.sandbox.get().cloned())
    {
        match sandbox.adopt_container(id).await {
            Ok(workload) => remove(server, id, &*workload).await?,
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => {
                warn!(container_id = %id, error = chain(&error), "it may be left half made")
            }
        }
    }
    give_back(server.images.clone(), id.clone(), held(container)).await?;
    host::remove_directory(&server.container_dir(id)).await?;
    server.state.delete::<SavedContainer>(&id.0).await?;
    Ok(())
}

/// Removes it from its sandbox, whose agent may hang.
async fn remove(server: &CriServer, id: &ContainerId, workload: &dyn Workload) -> Result<()> {
    let limit = Duration::from_secs(server.config.adopt_timeout_s);
    match tokio::time::timeout(limit, workload.remove()).await {
        Ok(removed) => removed.doing(format!("remove container {id}")),
        Err(_) => {
            let message = format!("container {id} is not removed within {limit:?}");
            Err(Error::new(Kind::TimedOut, message))
        }
    }
}

/// Removes directories of pods and containers that nobody knows.
pub(super) async fn sweep_directories(server: &CriServer) -> Result<()> {
    let pods: HashSet<_> = server
        .pods
        .all()
        .iter()
        .map(|pod| pod.id.0.clone())
        .collect();
    let containers = server.containers.all();
    let containers: HashSet<_> = containers.iter().map(|c| c.id.0.clone()).collect();
    sweep(&server.config.runtime_dir.join("pods"), &pods).await?;
    sweep(&server.config.state_dir.join("containers"), &containers).await
}

async fn sweep(directory: &Path, keep: &HashSet<String>) -> Result<()> {
    let failed = |error| {
        Error::caused(
            Kind::Internal,
            format!("look through {}", directory.display()),
            error,
        )
    };
    tokio::fs::create_dir_all(directory).await.map_err(failed)?;
    // What containers write may be setuid root; nobody else on the node may reach it.
    let only_root = Permissions::from_mode(0o700);
    tokio::fs::set_permissions(directory, only_root)
        .await
        .map_err(failed)?;
    let mut entries = tokio::fs::read_dir(directory).await.map_err(failed)?;
    while let Some(entry) = entries.next_entry().await.map_err(failed)? {
        if keep.contains(&*entry.file_name().to_string_lossy()) {
            continue;
        }
        info!(directory = %entry.path().display(), "directory of nobody is removed");
        if let Err(error) = host::remove_directory(&entry.path()).await {
            warn!(
                error = chain(&error),
                "directory stays until the next start"
            );
        }
    }
    Ok(())
}
