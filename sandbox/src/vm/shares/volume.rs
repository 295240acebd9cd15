//! One directory or file of the node's: found, told apart from others, and mounted for its server.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags, openat, statx};
use serde::{Deserialize, Serialize};

use super::mounts_below::is_any_mounted_below;
use super::tree::{self, Change, Propagation, Tree};
use crate::{Error, Kind, Result};

/// A mount of a container that is to be the node's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::vm) struct Wanted {
    /// Where in the container.
    pub(in crate::vm) destination: String,
    /// What on the node; symlinks on the way are the node's.
    pub(in crate::vm) source: PathBuf,
    /// What the container may do with it.
    pub(in crate::vm) access: Access,
    /// What the node mounts below it later appears.
    pub(in crate::vm) follows_node: bool,
}

/// What may be done with a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::vm) enum Access {
    /// Anything.
    Full,
    /// Nothing may be written to it, but to what is mounted below.
    ReadOnly,
    /// Nor to that.
    ReadOnlyTree,
}

/// Which directory or file it is, by whatever path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) device: (u32, u32),
    pub(super) inode: u64,
    /// The mount that it is reached by, which says what is mounted below.
    pub(super) mount: u64,
    pub(super) follows_node: bool,
}

impl Wanted {
    /// Finds it.
    pub(super) fn open(&self) -> Result<Source> {
        let path = &self.source;
        Source::open(path).map_err(|error| {
            let doing = format!("open {}", path.display());
            match error.kind() {
                io::ErrorKind::NotFound => Error::caused(Kind::NotFound, doing, error),
                _ => Error::io(doing, error),
            }
        })
    }
}

/// A directory or file of the node's.
#[derive(Debug)]
pub(super) struct Source {
    place: OwnedFd,
    kind: FileType,
}

impl Source {
    fn open(path: &Path) -> io::Result<Self> {
        let place = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode);
        Ok(Self { place, kind })
    }

    pub(super) fn identity(&self, follows_node: bool) -> Result<Identity> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        let found = statx(&self.place, "", AtFlags::EMPTY_PATH, wanted)
            .map_err(|e| Error::io("look at it", e))?;
        Ok(Identity {
            device: (found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            mount: found.stx_mnt_id,
            follows_node,
        })
    }

    /// Whether something is mounted below it, or may be later.
    pub(super) fn may_have_mounts_below(&self, identity: &Identity) -> Result<bool> {
        if identity.follows_node {
            return Ok(true);
        }
        is_any_mounted_below(self.place.as_fd(), identity.mount)
            .map_err(|e| Error::io("look at what is mounted below it", e))
    }

    /// Mounts it in the mount namespace of the process behind `pidfd`, whose root directory is our
    /// directory `root`, on a new place there. Tells the name of that place, which is none before `first`.
    pub(super) fn mount(
        &self,
        pidfd: &OwnedFd,
        root: &Path,
        first: usize,
        access: Access,
        follows_node: bool,
    ) -> Result<String> {
        if !matches!(self.kind, FileType::Directory | FileType::RegularFile) {
            let doing = "share it: only directories and regular files can be shared with a machine";
            return Err(Error::new(Kind::Unsupported, doing));
        }
        let failed = |doing: &'static str| move |e| Error::io(doing, io::Error::from(e));
        let tree = Tree::copy(self.place.as_fd()).map_err(failed("copy its mounts"))?;
        for change in changes(access, follows_node) {
            tree.change(&change).map_err(failed("limit its mounts"))?;
        }
        let name = self
            .make_place(root, first)
            .map_err(|e| Error::io(format!("make a place for it in {}", root.display()), e))?;
        tree::attach_in(pidfd, tree, &root.join(&name), &name)?;
        Ok(name)
    }

    /// Makes a directory or file of a new name to mount it on.
    fn make_place(&self, root: &Path, first: usize) -> io::Result<String> {
        let names = (first..).map(|number| format!("v{number}"));
        for name in names {
            let path = root.join(&name);
            let made = match self.kind {
                FileType::Directory => std::fs::create_dir(&path),
                _ => File::create_new(&path).map(drop),
            };
            match made {
                // A server of ours made it, and died before it wrote that down.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| name),
            }
        }
        unreachable!("there are more numbers than files")
    }
}

/// What becomes of the mounts: the server executes nothing and opens no devices, whoever may in the guest;
/// and what the guest must not write to the server can't.
fn changes(access: Access, follows_node: bool) -> Vec<Change> {
    let mut changes = vec![Change {
        propagation: Some(match follows_node {
            true => Propagation::Slave,
            false => Propagation::Private,
        }),
        inert: true,
        read_only: access == Access::ReadOnlyTree,
        whole_tree: true,
    }];
    if access == Access::ReadOnly {
        changes.push(Change {
            read_only: true,
            ..Change::default()
        });
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(source: &Path) -> Wanted {
        Wanted {
            destination: "/data".into(),
            source: source.to_owned(),
            access: Access::Full,
            follows_node: false,
        }
    }

    #[test]
    fn a_directory_is_the_same_by_every_path_and_another_one_in_its_place_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        let identity = |path: &Path| wanted(path).open().unwrap().identity(false).unwrap();
        let first = identity(&real);
        assert_eq!(identity(&link), first);
        std::fs::rename(&real, dir.path().join("old")).unwrap();
        std::fs::create_dir(&real).unwrap();
        assert_ne!(identity(&link), first);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = wanted(Path::new("/no/such/directory")).open().unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(error.to_string().contains("/no/such/directory"), "{error}");
    }

    #[test]
    fn a_place_is_of_the_same_kind_and_never_used_twice() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let place = |source: &Path| {
            let source = wanted(source).open().unwrap();
            source.make_place(&root, 0).unwrap()
        };
        assert_eq!([place(dir.path()), place(&file)], ["v0", "v1"]);
        assert!(root.join("v0").is_dir() && root.join("v1").is_file());
    }

    #[test]
    fn only_what_is_asked_for_can_be_written_to() {
        let read_only = |access| -> Vec<_> {
            let changes = changes(access, false).into_iter();
            changes
                .filter(|c| c.read_only)
                .map(|c| c.whole_tree)
                .collect()
        };
        assert_eq!(read_only(Access::Full), Vec::<bool>::new());
        assert_eq!(read_only(Access::ReadOnly), [false]);
        assert_eq!(read_only(Access::ReadOnlyTree), [true]);
    }
}
