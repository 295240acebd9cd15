//! A lock file that a process holds for its life, through a descriptor that it inherited.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::{Error, Result};

/// Takes the lock at `path`, making the file if there is none; `None` means that somebody holds it.
/// It is held until the last copy of the descriptor is closed, in whatever process.
pub(crate) fn take(path: &Path) -> Result<Option<File>> {
    let taking = || format!("take lock {}", path.display());
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| Error::io(taking(), e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(Error::io(taking(), error)),
    }
}

/// Whether somebody holds the lock at `path`. A file that isn't there is held by nobody.
pub(crate) fn is_held(path: &Path) -> Result<bool> {
    let looking = || format!("look at lock {}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::io(looking(), error)),
    };
    // Shared and at once given back, so that two who look don't see each other.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(Error::io(looking(), error)),
    }
}

/// A process, other than this one, that has the file at `path` open. Reads all of `/proc`.
pub(crate) fn holder(path: &Path) -> Option<u32> {
    let wanted = fs::metadata(path).ok()?;
    let same = |found: &fs::Metadata| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino());
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != std::process::id())
        .find(|pid| {
            let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
            descriptors
                .into_iter()
                .flatten()
                .flatten()
                .any(|fd| fs::metadata(fd.path()).is_ok_and(|found| same(&found)))
        })
}
