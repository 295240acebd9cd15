//! An image as what a sandbox mounts: a directory on the host, or a guest's disk.

mod disk;
mod loop_device;
mod mount;
mod mountinfo;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use tracing::{info, warn};

pub(crate) use disk::{disk, read_file};
pub use mount::MountError;

use crate::store::{BlobKey, FileError, Paths, SavedImage, StoreError};

/// Mounted images, each once, whoever uses it.
pub(crate) struct Mounts {
    dir: PathBuf,
    /// Merged images that are mounted. Locked while one is mounted or unmounted: that takes less
    /// than a millisecond.
    mounted: Mutex<BTreeSet<PathBuf>>,
}

impl Mounts {
    /// Finds what an earlier run left mounted below `run_dir`. Blocking.
    pub(crate) fn open(run_dir: &Path) -> Result<Self, FileError> {
        let dir = run_dir.join("mounts");
        // Setuid files of images are for containers, not for users of the node.
        let created = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        created.map_err(FileError::of("create directory", &dir))?;
        let dir = fs::canonicalize(&dir).map_err(FileError::of("resolve", &dir))?;
        let found = mountinfo::mount_points_below(&dir);
        let mounted = found.map_err(FileError::of("look for mounts below", &dir))?;
        for entry in fs::read_dir(&dir)
            .map_err(FileError::of("list", &dir))?
            .flatten()
        {
            // What is no mount point is left from a crash; what is one can't be removed.
            let _ = fs::remove_dir(entry.path());
        }
        Ok(Self {
            dir,
            mounted: Mutex::new(mounted),
        })
    }

    fn path(&self, key: &BlobKey) -> PathBuf {
        self.dir
            .join(format!("{}-{}", key.digest.hex(), key.converter))
    }

    /// Mounts the image unless it is mounted already. Blocking.
    pub(crate) fn mount(&self, image: &SavedImage, paths: &Paths) -> Result<PathBuf, StoreError> {
        let path = self.path(&image.merged_key());
        let mut mounted = self.mounted.lock();
        if mounted.contains(&path) && is_erofs(&path) {
            return Ok(path);
        }
        let created = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        created.map_err(FileError::of("create directory", &path))?;
        let merged = paths.blob(&image.merged_key());
        let layers: Vec<PathBuf> = image.layer_keys().map(|key| paths.blob(&key)).collect();
        if let Err(source) = mount::mount_erofs(&merged, &layers, &path) {
            let _ = fs::remove_dir(&path);
            return Err(StoreError::Mount {
                image: image.id,
                source,
            });
        }
        info!(image = %image.id, path = %path.display(), layers = layers.len(), "image mounted");
        mounted.insert(path.clone());
        Ok(path)
    }

    /// Unmounts all that none of the images `in_use` needs. Whoever mounts has held before, so
    /// asking under the lock sees them. Blocking.
    pub(crate) fn unmount_unused(
        &self,
        in_use: impl FnOnce() -> Vec<SavedImage>,
    ) -> Result<(), StoreError> {
        let mut mounted = self.mounted.lock();
        let in_use = in_use();
        let used: BTreeSet<PathBuf> = in_use
            .iter()
            .map(|image| self.path(&image.merged_key()))
            .collect();
        let unused: Vec<PathBuf> = mounted.difference(&used).cloned().collect();
        for path in unused {
            let result = unmount_all(&path);
            result.map_err(|source| StoreError::Unmount {
                path: path.clone(),
                source,
            })?;
            info!(path = %path.display(), "image unmounted");
            mounted.remove(&path);
        }
        Ok(())
    }
}

/// Whether the mount is still there: somebody may have unmounted it by hand.
fn is_erofs(path: &Path) -> bool {
    const EROFS_MAGIC: u64 = 0xe0f5_e1e2;
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type.cast_unsigned() == EROFS_MAGIC)
}

/// Unmounts everything at `path` and removes the directory.
fn unmount_all(path: &Path) -> io::Result<()> {
    loop {
        match unmount(path, UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::BUSY) => {
                // Somebody sits in it whom we don't know. The mount goes when they do.
                warn!(path = %path.display(), "image is still in use, detached");
                unmount(path, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)?;
            }
            // Not, or no longer, a mount point.
            Err(Errno::INVAL | Errno::NOENT) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
