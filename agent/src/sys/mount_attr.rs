//! mount_setattr(2): flags and propagation of mounts, of one or of a whole tree.
#![expect(unsafe_code, reason = "no safe binding of mount_setattr exists")]
// UNSAFETY: the system call takes a pointer to a structure and its size.

use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use super::checked;

/// `struct mount_attr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct RawAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// What to change; everything else stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MountAttr {
    pub(crate) readonly: bool,
    pub(crate) nosuid: bool,
    pub(crate) nodev: bool,
    pub(crate) noexec: bool,
    pub(crate) propagation: Option<Propagation>,
}

/// Whether mounts made later cross between copies of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// Neither way.
    Private,
    /// From the original to the copy.
    Slave,
    /// Both ways.
    Shared,
}

/// How far a change reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The mount itself.
    One,
    /// And all mounts below it.
    Tree,
}

impl MountAttr {
    /// Changes the mount that `mount` is open on.
    pub(crate) fn apply(self, mount: impl AsFd, reach: Reach) -> rustix::io::Result<()> {
        let raw = self.raw();
        if raw.set == 0 && raw.propagation == 0 {
            return Ok(());
        }
        let mut flags = libc::AT_EMPTY_PATH;
        if reach == Reach::Tree {
            flags |= libc::AT_RECURSIVE;
        }
        // SAFETY: the path is a C string, the structure is initialised and the size is its own; the
        // kernel only reads them.
        checked(unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                mount.as_fd().as_raw_fd(),
                c"".as_ptr(),
                flags,
                &raw const raw,
                size_of::<RawAttr>(),
            )
        })
        .map(drop)
    }

    fn raw(self) -> RawAttr {
        let flags = [
            (self.readonly, libc::MOUNT_ATTR_RDONLY),
            (self.nosuid, libc::MOUNT_ATTR_NOSUID),
            (self.nodev, libc::MOUNT_ATTR_NODEV),
            (self.noexec, libc::MOUNT_ATTR_NOEXEC),
        ];
        let set = flags
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, flag)| flag)
            .sum();
        let propagation = match self.propagation {
            None => 0,
            Some(Propagation::Private) => libc::MS_PRIVATE,
            Some(Propagation::Slave) => libc::MS_SLAVE,
            Some(Propagation::Shared) => libc::MS_SHARED,
        };
        RawAttr {
            set,
            propagation,
            ..RawAttr::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_those_of_the_kernel() {
        let attr = MountAttr {
            readonly: true,
            noexec: true,
            ..MountAttr::default()
        };
        assert_eq!(attr.raw().set, 0x1 | 0x8);
        let attr = MountAttr {
            propagation: Some(Propagation::Slave),
            ..MountAttr::default()
        };
        assert_eq!((attr.raw().set, attr.raw().propagation), (0, 1 << 19));
    }
}
