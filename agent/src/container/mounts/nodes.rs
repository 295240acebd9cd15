//! Device nodes.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, chmodat, chownat, makedev, mknodat, unlinkat};
use rustix::io::Errno;

use super::MountError;
use crate::container::root::{Missing, Root};
use crate::stage1::spec::Node;

/// A node that every container has.
pub(crate) struct StandardNode {
    /// Its name in /dev.
    pub(crate) name: &'static str,
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

/// Those that every container has; anybody may use them.
pub(crate) const STANDARD: [StandardNode; 6] = [
    StandardNode {
        name: "null",
        major: 1,
        minor: 3,
    },
    StandardNode {
        name: "zero",
        major: 1,
        minor: 5,
    },
    StandardNode {
        name: "full",
        major: 1,
        minor: 7,
    },
    StandardNode {
        name: "random",
        major: 1,
        minor: 8,
    },
    StandardNode {
        name: "urandom",
        major: 1,
        minor: 9,
    },
    StandardNode {
        name: "tty",
        major: 5,
        minor: 0,
    },
];

impl StandardNode {
    pub(crate) fn at_its_place(&self) -> Node {
        Node {
            path: format!("/dev/{}", self.name),
            block: false,
            major: self.major,
            minor: self.minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        }
    }
}

/// Makes `nodes`.
pub(super) fn make_all(root: Root<'_>, nodes: &[Node]) -> Result<(), MountError> {
    nodes.iter().try_for_each(|node| make(root, node))
}

/// Makes `node`, in place of what may be there.
pub(super) fn make(root: Root<'_>, node: &Node) -> Result<(), MountError> {
    let made = || -> rustix::io::Result<()> {
        let (directory, name) = node.path.rsplit_once('/').ok_or(Errno::INVAL)?;
        if matches!(name, "" | "." | "..") {
            return Err(Errno::INVAL);
        }
        let directory = if directory.is_empty() { "/" } else { directory };
        let directory = root.resolve_or_create(directory, Missing::Directory)?;
        match unlinkat(&directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        let kind = if node.block {
            FileType::BlockDevice
        } else {
            FileType::CharacterDevice
        };
        let mode = Mode::from_raw_mode(node.mode & 0o777);
        mknodat(
            &directory,
            name,
            kind,
            mode,
            makedev(node.major, node.minor),
        )?;
        let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        chownat(
            directory.as_fd(),
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        // The umask has taken bits away.
        chmodat(directory.as_fd(), name, mode, AtFlags::empty())
    };
    made().map_err(|source| MountError::Node {
        path: node.path.clone(),
        source,
    })
}
