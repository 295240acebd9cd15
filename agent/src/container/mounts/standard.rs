//! What every container has: /proc, /dev, /sys and what belongs in them.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::symlinkat;

use super::MountError;
use super::filesystem::{self, new};
use super::nodes::{self, STANDARD};
use crate::container::root::{Missing, Root};
use crate::sys::mount_attr::{MountAttr, Reach};

/// Neither programs nor devices nor setuid bits count there.
const INERT: MountAttr = MountAttr {
    readonly: false,
    nosuid: true,
    nodev: true,
    noexec: true,
    propagation: None,
};

/// Device nodes count, setuid bits don't.
const DEVICES: MountAttr = MountAttr {
    nodev: false,
    noexec: false,
    ..INERT
};

/// Attaches everything and returns the root directory of devpts.
pub(super) fn attach(
    root: Root<'_>,
    privileged: bool,
    shm: OwnedFd,
) -> Result<OwnedFd, MountError> {
    let place = |mount: OwnedFd, target: &str| attach_at(&mount, root, target);
    place(new("proc", &[], INERT)?, "/proc")?;

    let options = [("mode", Some("755")), ("size", Some("65536k"))];
    let dev = new("tmpfs", &options, DEVICES)?;
    attach_at(&dev, root, "/dev")?;
    STANDARD
        .iter()
        .try_for_each(|node| nodes::make(root, &node.at_its_place()))?;
    link_dev(&dev)?;
    let options = [
        ("ptmxmode", Some("0666")),
        ("mode", Some("0620")),
        ("gid", Some("5")),
    ];
    let devpts = new(
        "devpts",
        &options,
        MountAttr {
            noexec: true,
            ..DEVICES
        },
    )?;
    attach_at(&devpts, root, "/dev/pts")?;
    place(new("mqueue", &[], INERT)?, "/dev/mqueue")?;
    INERT
        .apply(&shm, Reach::One)
        .map_err(|source| MountError::Change {
            target: "/dev/shm".to_owned(),
            source,
        })?;
    place(shm, "/dev/shm")?;

    let system = MountAttr {
        readonly: !privileged,
        ..INERT
    };
    place(new("sysfs", &[], system)?, "/sys")?;
    place(new("cgroup2", &[], system)?, "/sys/fs/cgroup")?;
    Ok(devpts)
}

fn attach_at(mount: &OwnedFd, root: Root<'_>, target: &str) -> Result<(), MountError> {
    filesystem::attach(mount, root, target, Missing::Directory)
}

/// The names in /dev that programs expect beside the device nodes.
fn link_dev(dev: &OwnedFd) -> Result<(), MountError> {
    const LINKS: [(&str, &str); 5] = [
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
        ("pts/ptmx", "ptmx"),
    ];
    LINKS.iter().try_for_each(|(target, name)| {
        symlinkat(*target, dev.as_fd(), *name).map_err(|source| MountError::Node {
            path: format!("/dev/{name}"),
            source,
        })
    })
}
