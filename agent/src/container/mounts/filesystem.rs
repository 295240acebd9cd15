//! Detached mounts: new file systems, and copies of what is mounted already.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::MountError;
use crate::container::root::{Missing, Root};
use crate::sys::mount_attr::{MountAttr, Reach};

/// A file system option: a key, with a value or without.
pub(crate) type FsOption<'s> = (&'s str, Option<&'s str>);

/// A new file system of type `kind`, mounted nowhere yet.
pub(crate) fn new(
    kind: &'static str,
    options: &[FsOption<'_>],
    attr: MountAttr,
) -> Result<OwnedFd, MountError> {
    let error = |kernel, source| MountError::Filesystem {
        kind,
        kernel,
        source,
    };
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| error(String::new(), e))?;
    let made = || -> rustix::io::Result<OwnedFd> {
        for (key, value) in options {
            match value {
                Some(value) => fsconfig_set_string(context.as_fd(), *key, *value)?,
                None => fsconfig_set_flag(context.as_fd(), *key)?,
            }
        }
        fsconfig_create(context.as_fd())?;
        let mount = fsmount(
            context.as_fd(),
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )?;
        // The flags go on the mount and never into the file system, which other mounts may share.
        attr.apply(&mount, Reach::One)?;
        Ok(mount)
    };
    made().map_err(|source| error(complaints(&context), source))
}

/// A detached copy of what `source` is open on.
pub(crate) fn copy(source: BorrowedFd<'_>, reach: Reach) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if reach == Reach::Tree {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(source, "", flags)
}

/// Attaches `mount` at `target` of the container, which is made if it is missing.
pub(crate) fn attach(
    mount: &OwnedFd,
    root: Root<'_>,
    target: &str,
    missing: Missing,
) -> Result<(), MountError> {
    let place = root
        .resolve_or_create(target, missing)
        .map_err(|source| MountError::Target {
            target: target.to_owned(),
            source,
        })?;
    attach_to(mount, place.as_fd()).map_err(|source| MountError::Attach {
        target: target.to_owned(),
        source,
    })
}

/// Attaches `mount` to the place that `place` is open on.
pub(crate) fn attach_to(mount: &OwnedFd, place: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", place, "", flags)
}

/// What the kernel wrote about a failure: one line per read, after a letter for its level.
fn complaints(context: &OwnedFd) -> String {
    let mut all = Vec::new();
    let mut line = [0; 512];
    while let Ok(length @ 1..) = rustix::io::read(context, &mut line[..]) {
        let text = String::from_utf8_lossy(&line[..length]);
        all.push(
            text.trim_start_matches(['e', 'w', 'i', ' '])
                .trim()
                .to_owned(),
        );
        if all.len() == 4 {
            break;
        }
    }
    all.join("; ")
}

/// The file system type and options of a mount(8)-like `data` string.
pub(crate) fn options(data: &str) -> Vec<FsOption<'_>> {
    data.split(',')
        .filter(|option| !option.is_empty())
        .map(|option| match option.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (option, None),
        })
        .collect()
}

/// Opens a path of this namespace without following its last symlink any further than the kernel does.
pub(crate) fn open_path(path: &str) -> rustix::io::Result<OwnedFd> {
    if path.is_empty() {
        return Err(Errno::NOENT);
    }
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, rustix::fs::Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_data_is_a_list_of_keys_and_values() {
        assert_eq!(options(""), []);
        assert_eq!(
            options("size=64m,noswap,,mode=1777"),
            [
                ("size", Some("64m")),
                ("noswap", None),
                ("mode", Some("1777"))
            ]
        );
    }
}
