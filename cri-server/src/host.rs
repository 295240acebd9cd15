//! Small dealings with the node's file system.

use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Error, Kind, Result};

/// Removes a directory and all in it; one that isn't there is fine.
pub(crate) async fn remove_directory(directory: &Path) -> Result<()> {
    match tokio::fs::remove_dir_all(directory).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::caused(
            Kind::Internal,
            format!("remove {}", directory.display()),
            error,
        )),
        _ => Ok(()),
    }
}

/// Work that may wait for a disk, or for a file server that is gone.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => Err(Error::caused(Kind::Internal, "look at the node", panic)),
    }
}
