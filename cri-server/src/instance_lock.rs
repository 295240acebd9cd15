//! One server per node: a lock on the state directory that the kernel drops when we end.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Held for as long as the server runs.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
}

/// The lock can't be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another one holds it.
    #[error("another bulkhead runs with the state directory {0}; stop it first")]
    Taken(PathBuf),
    /// The file can't be used.
    #[error("lock the state directory {path}")]
    Use {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl InstanceLock {
    /// Takes the lock of a state directory, which is made if need be.
    pub fn take(directory: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Use {
            path: directory.to_path_buf(),
            source,
        };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(directory.join("lock"))
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Taken(directory.to_path_buf())),
            Err(errno) => Err(failed(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_refused_while_the_first_runs() {
        let dir = tempfile::tempdir().unwrap();
        let first = InstanceLock::take(dir.path()).unwrap();
        assert!(matches!(
            InstanceLock::take(dir.path()),
            Err(LockError::Taken(_))
        ));
        drop(first);
        InstanceLock::take(dir.path()).unwrap();
    }
}
