//! Files and directories of the node, which the machine has in one virtio file system.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{GuestError, attach, write_file};
use crate::chain;
use crate::container::cgroup::is_name;
use crate::container::mounts::{MountError, new_filesystem};
use crate::sys::mount_attr::MountAttr;

/// What the device says that it is.
const TAG: &str = "bulkhead";

/// Where it is mounted, for as long as the guest lives.
const DIRECTORY: &str = "/run/bulkhead/shares";

/// How long a device that was attached may take to be seen.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// How often we look.
const POLL: Duration = Duration::from_millis(5);

/// Held by whoever looks whether it is mounted, and mounts it.
static MOUNTING: Mutex<()> = Mutex::new(());

/// Where the share with this name is. The file system is mounted with the first. Blocks until its device is seen.
pub(super) fn find(name: &str) -> Result<PathBuf, GuestError> {
    if !is_name(name) {
        return Err(GuestError::ShareName(name.to_owned()));
    }
    let place = Path::new(DIRECTORY);
    {
        let _one_at_a_time = MOUNTING.lock();
        if !is_mounted(place) {
            mount(place)?;
        }
    }
    let share = place.join(name);
    enter(&share).map_err(|source| GuestError::Share {
        name: name.to_owned(),
        source,
    })?;
    Ok(share)
}

/// Whether something is mounted there: it is then on another device than the directory it is in.
fn is_mounted(place: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.dev());
    let outside = place.parent().and_then(device);
    device(place).is_some_and(|inside| Some(inside) != outside)
}

fn mount(place: &Path) -> Result<(), GuestError> {
    let path = place.display().to_string();
    fs::create_dir_all(place).map_err(|source| GuestError::File {
        doing: "make",
        path: path.clone(),
        source,
    })?;
    // Programs and privileges in volumes are what they are on the node; devices are not.
    let attr = MountAttr {
        nodev: true,
        ..MountAttr::default()
    };
    let start = Instant::now();
    let mount = loop {
        match new_filesystem("virtiofs", &[("source", Some(TAG))], attr) {
            Ok(mount) => break mount,
            Err(error) if start.elapsed() > SEEN_WITHIN => return Err(GuestError::Shares(error)),
            // The kernel has not seen the device yet.
            Err(error) => tracing::debug!(error = chain(&error), "no file system of the node yet"),
        }
        write_file("rescan", "/sys/bus/pci/rescan", "1")?;
        std::thread::sleep(POLL);
    };
    attach(&mount, &path).map_err(|source| {
        GuestError::Shares(MountError::Attach {
            target: path.clone(),
            source,
        })
    })
}

/// Goes to a share once. A directory there is a mount of its own, which the kernel makes when somebody
/// enters it, but not when a container's mounts are copied.
fn enter(share: &Path) -> std::io::Result<()> {
    if fs::metadata(share)?.is_dir() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, share, flags, Mode::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        for bad in ["", "..", ".", "a/b", "/etc"] {
            let error = find(bad).unwrap_err();
            assert!(matches!(error, GuestError::ShareName(_)), "{bad}: {error}");
        }
    }

    #[test]
    fn a_directory_that_is_no_mount_is_seen_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("shares");
        assert!(!is_mounted(&place));
        fs::create_dir(&place).unwrap();
        assert!(!is_mounted(&place));
    }
}
