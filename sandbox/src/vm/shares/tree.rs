//! Trees of mounts that are attached nowhere yet, and attaching one in another mount namespace.

#![expect(unsafe_code, reason = "no safe binding of mount_setattr exists")]
// UNSAFETY: the system call takes a pointer to a structure and its size; and unsharing could pull
// descriptors away from other threads.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, fstat, openat, stat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::thread::{
    ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces, unshare_unsafe,
};

use crate::{Error, Kind, Result};

/// A copy of a mount and of those below it.
#[derive(Debug)]
pub(super) struct Tree(OwnedFd);

/// What to change about the mounts of a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) propagation: Option<Propagation>,
    /// No devices, programs or privileges come from it.
    pub(super) inert: bool,
    pub(super) read_only: bool,
    /// Not only the first mount.
    pub(super) whole_tree: bool,
}

/// Whether mounts made later cross over from the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Propagation {
    /// No.
    Private,
    /// Yes.
    Slave,
}

/// `struct mount_attr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct RawAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

impl Tree {
    /// Copies what is at `place` with all that is mounted below.
    pub(super) fn copy(place: BorrowedFd<'_>) -> rustix::io::Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE;
        open_tree(place, "", flags).map(Self)
    }

    pub(super) fn change(&self, change: &Change) -> rustix::io::Result<()> {
        let raw = change.raw();
        let mut flags = libc::AT_EMPTY_PATH;
        if change.whole_tree {
            flags |= libc::AT_RECURSIVE;
        }
        // SAFETY: the path is a C string, the structure is initialised and the size is its own; the
        // kernel only reads them.
        let failed = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                self.0.as_raw_fd(),
                c"".as_ptr(),
                flags,
                &raw const raw,
                size_of::<RawAttr>(),
            )
        };
        if failed == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}

impl Change {
    fn raw(self) -> RawAttr {
        let inert = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
        let set = [
            (self.inert, inert),
            (self.read_only, libc::MOUNT_ATTR_RDONLY),
        ];
        RawAttr {
            set: set
                .iter()
                .filter(|(on, _)| *on)
                .map(|(_, flags)| flags)
                .sum(),
            propagation: match self.propagation {
                None => 0,
                Some(Propagation::Private) => libc::MS_PRIVATE,
                Some(Propagation::Slave) => libc::MS_SLAVE,
            },
            ..RawAttr::default()
        }
    }
}

/// Attaches `tree` in the mount namespace of the process behind `pidfd`, at `name` of its root, which must
/// be `place`.
///
/// A thread goes there for it, and ends there.
pub(super) fn attach_in(pidfd: &OwnedFd, tree: Tree, place: &Path, name: &str) -> Result<()> {
    let there = || -> rustix::io::Result<()> {
        let expected = stat(place)?;
        // SAFETY: the thread's view of the file system only; the table of descriptors stays as it is.
        unsafe { unshare_unsafe(UnshareFlags::FS) }?;
        move_into_thread_name_spaces(pidfd.as_fd(), ThreadNameSpaceType::MOUNT)?;
        let target = openat(CWD, format!("/{name}"), OFlags::PATH, Mode::empty())?;
        let found = fstat(&target)?;
        // A process that has no namespace of its own yet would make this a mount of the node's.
        if (found.st_dev, found.st_ino) != (expected.st_dev, expected.st_ino) {
            return Err(Errno::XDEV);
        }
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&tree.0, "", &target, "", flags)
    };
    let attached = std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("mount".into())
            .spawn_scoped(scope, there)
            .map(|thread| thread.join())
    });
    let attaching = "mount it where the pod's file server sees it";
    match attached {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(error))) => Err(Error::io(attaching, error)),
        Ok(Err(_)) => Err(Error::new(Kind::Internal, attaching)),
        Err(error) => Err(Error::io(attaching, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_those_of_the_kernel() {
        let change = Change {
            propagation: Some(Propagation::Slave),
            inert: true,
            read_only: true,
            whole_tree: true,
        };
        let raw = change.raw();
        assert_eq!((raw.set, raw.propagation), (0x1 | 0x2 | 0x4 | 0x8, 1 << 19));
        assert_eq!(Change::default().raw().set, 0);
    }
}
