//! The guest's own file systems.

use std::os::fd::AsFd;

use rustix::fs::{CWD, Mode, mkdir};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{chroot, fchdir};

use super::attach;
use crate::chain;
use crate::container::cgroup::{ROOT, delegate};
use crate::container::mounts::new_filesystem;
use crate::sys::mount_attr::{MountAttr, Reach};

/// Directories that the root must have before nobody can write it any more.
const DIRECTORIES: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/tmp"];

/// A file system of the guest: type, place, options, flags.
type Wanted = (
    &'static str,
    &'static str,
    &'static [(&'static str, Option<&'static str>)],
    MountAttr,
);

const INERT: MountAttr = MountAttr {
    readonly: false,
    nosuid: true,
    nodev: true,
    noexec: true,
    propagation: None,
};

const ALL: [Wanted; 5] = [
    ("proc", "/proc", &[], INERT),
    ("sysfs", "/sys", &[], INERT),
    (
        "devtmpfs",
        "/dev",
        &[("mode", Some("755"))],
        MountAttr {
            nodev: false,
            ..INERT
        },
    ),
    (
        "tmpfs",
        "/run",
        &[("mode", Some("755"))],
        MountAttr {
            noexec: false,
            ..INERT
        },
    ),
    (
        "cgroup2",
        ROOT,
        &[("nsdelegate", None), ("memory_recursiveprot", None)],
        INERT,
    ),
];

/// Puts a read-only copy of the root over the root and goes there.
///
/// The initial root has no mount above it, so pivot_root refuses to leave it; the copy has. And what is
/// executed from the copy can't be opened for writing by way of /proc/…/exe (CVE-2019-5736), without a
/// second copy of the program in memory.
pub(super) fn leave_initial_root() -> rustix::io::Result<()> {
    for directory in DIRECTORIES {
        match mkdir(directory, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let copy = open_tree(CWD, "/", flags)?;
    let attr = MountAttr {
        readonly: true,
        nodev: false,
        ..MountAttr::default()
    };
    attr.apply(&copy, Reach::One)?;
    attach(&copy, "/")?;
    fchdir(copy.as_fd())?;
    chroot(".")
}

/// Mounts what every Linux system has. Without one of them little works, but the log may tell why.
pub(super) fn mount_all() {
    for (kind, place, options, attr) in ALL {
        let mounted = new_filesystem(kind, options, attr);
        let attached = mounted
            .map_err(|error| chain(&error))
            .and_then(|mount| attach(&mount, place).map_err(|error| error.to_string()));
        if let Err(error) = attached {
            tracing::error!(place, error, "not mounted");
        }
    }
    if let Err(error) = delegate(ROOT.as_ref()) {
        tracing::error!(error = chain(&error), "containers can't be limited");
    }
}
