//! The root itself: an overlay of the image's files and the container's own.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use agent_api::v1;

use super::MountError;
use super::filesystem::{attach_to, new, open_path};
use crate::sys::mount_attr::MountAttr;

/// Makes the overlay and attaches it in this namespace, on top of its own upper directory: that exists,
/// is a directory, and nobody needs to see it again.
pub(super) fn attach_overlay(
    container: &v1::CreateContainerRequest,
) -> Result<OwnedFd, MountError> {
    let kind = container
        .rootfs
        .as_ref()
        .and_then(|rootfs| rootfs.kind.as_ref());
    let Some(v1::rootfs::Kind::Overlay(overlay)) = kind else {
        return Err(MountError::Incomplete("overlay"));
    };
    let open = |path: &str| {
        open_path(path).map_err(|source| MountError::Source {
            path: path.to_owned(),
            source,
        })
    };
    let (lower, upper, work) = (
        open(&overlay.lower)?,
        open(&overlay.upper)?,
        open(&overlay.work)?,
    );
    let options = [
        ("lowerdir", Some(&*by_descriptor(&lower))),
        ("upperdir", Some(&*by_descriptor(&upper))),
        ("workdir", Some(&*by_descriptor(&work))),
    ];
    let root = new("overlay", &options, MountAttr::default())?;
    attach_to(&root, upper.as_fd()).map_err(|source| MountError::Attach {
        target: "/".to_owned(),
        source,
    })?;
    Ok(root)
}

/// A name of what `fd` is open on: short (the kernel takes 255 bytes), and free of the colons and commas
/// that mean something in options.
fn by_descriptor(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
