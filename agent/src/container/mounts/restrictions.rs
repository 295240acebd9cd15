//! What is taken away last: paths made unreadable, paths made read-only.

use std::os::fd::{AsFd, OwnedFd};

use agent_api::v1;
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use super::MountError;
use super::filesystem::{attach_to, copy, new};
use crate::container::root::Root;
use crate::sys::mount_attr::{MountAttr, Reach};

const READONLY: MountAttr = MountAttr {
    readonly: true,
    nosuid: false,
    nodev: false,
    noexec: false,
    propagation: None,
};

/// Applies what `container` asks for. Paths that the container does not have need no restriction.
pub(super) fn apply(
    root: Root<'_>,
    container: &v1::CreateContainerRequest,
) -> Result<(), MountError> {
    for path in &container.readonly_paths {
        if let Some(place) = find(root, path)? {
            make_readonly(place.as_fd()).map_err(|source| MountError::Change {
                target: path.clone(),
                source,
            })?;
        }
    }
    for path in &container.masked_paths {
        if let Some(place) = find(root, path)? {
            mask(root, place, path)?;
        }
    }
    Ok(())
}

fn find(root: Root<'_>, path: &str) -> Result<Option<OwnedFd>, MountError> {
    match root.resolve(path) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(source) => Err(MountError::Target {
            target: path.to_owned(),
            source,
        }),
    }
}

/// Mounts the place on itself, read-only, with everything below.
fn make_readonly(place: std::os::fd::BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mount = copy(place, Reach::Tree)?;
    READONLY.apply(&mount, Reach::Tree)?;
    attach_to(&mount, place)
}

/// A file is covered by /dev/null, which cannot be executed either; a directory by an empty one.
fn mask(root: Root<'_>, place: OwnedFd, path: &str) -> Result<(), MountError> {
    let attach_error = |source| MountError::Attach {
        target: path.to_owned(),
        source,
    };
    let stat = fstat(&place).map_err(attach_error)?;
    let cover = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        new("tmpfs", &[("size", Some("4k"))], READONLY)?
    } else {
        let null = root.resolve("/dev/null").map_err(attach_error)?;
        copy(null.as_fd(), Reach::One).map_err(attach_error)?
    };
    attach_to(&cover, place.as_fd()).map_err(attach_error)
}
