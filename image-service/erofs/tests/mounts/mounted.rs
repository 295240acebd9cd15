//! Mounts that end with the test, and what is in them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, lgetxattr, llistxattr, major, minor};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
};
use tempfile::TempDir;

use crate::image::{File, Files, Kind};

/// A directory on a disk: a file in memory can hold no EROFS before Linux 6.14.
pub(crate) fn disk() -> TempDir {
    tempfile::tempdir_in("/var/tmp").unwrap()
}

/// A mounted file system.
pub(crate) struct Mounted {
    at: TempDir,
}

impl Mounted {
    /// Mounts `source` with layer blobs as its devices, without a loop device.
    pub(crate) fn erofs(source: &Path, devices: &[PathBuf]) -> Self {
        let source = [("source", source.to_path_buf())];
        let devices = devices.iter().map(|device| ("device", device.clone()));
        Self::new("erofs", source.into_iter().chain(devices), &["ro"])
    }

    /// Stacks mounts, the top one first.
    pub(crate) fn overlay(layers: &[&Self]) -> Self {
        let layers: Vec<_> = layers
            .iter()
            .map(|layer| layer.path().to_str().unwrap())
            .collect();
        Self::new(
            "overlay",
            [("lowerdir", PathBuf::from(layers.join(":")))],
            &[],
        )
    }

    fn new(
        kind: &str,
        options: impl IntoIterator<Item = (&'static str, PathBuf)>,
        flags: &[&str],
    ) -> Self {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
        for (key, value) in options {
            fsconfig_set_string(&context, key, value.as_path()).unwrap();
        }
        for flag in flags {
            fsconfig_set_flag(&context, *flag).unwrap();
        }
        fsconfig_create(&context).expect("this test needs root and a kernel with EROFS");
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        let mount = fsmount(&context, flags, MountAttrFlags::empty()).unwrap();
        let at = disk();
        let to_path = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&mount, "", CWD, at.path(), to_path).unwrap();
        Self { at }
    }

    pub(crate) fn path(&self) -> &Path {
        self.at.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(self.at.path(), UnmountFlags::DETACH).unwrap();
    }
}

/// Everything below `root`, as the kernel tells it.
pub(crate) fn files(root: &Path) -> Files {
    let mut files = Files::new();
    let mut first = BTreeMap::new();
    let mut ahead = vec![root.to_path_buf()];
    while let Some(path) = ahead.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            ahead.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        let name = path
            .strip_prefix(root)
            .unwrap()
            .as_os_str()
            .as_bytes()
            .to_vec();
        let same = first.entry(metadata.ino()).or_insert_with(|| name.clone());
        *same = name.clone().min(same.clone());
        files.insert(name, file(&path, &metadata));
    }
    for (name, file) in &mut files {
        let metadata =
            fs::symlink_metadata(root.join(Path::new(std::ffi::OsStr::from_bytes(name))));
        file.first = first[&metadata.unwrap().ino()].clone();
    }
    files
}

fn file(path: &Path, metadata: &fs::Metadata) -> File {
    let device = (major(metadata.rdev()), minor(metadata.rdev()));
    let kind = match metadata.mode() & 0o170_000 {
        0o040_000 => Kind::Directory,
        0o100_000 => Kind::Regular(fs::read(path).unwrap()),
        0o120_000 => Kind::Symlink(fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec()),
        0o020_000 => Kind::Char(device.0, device.1),
        0o060_000 => Kind::Block(device.0, device.1),
        0o010_000 => Kind::Fifo,
        other => panic!("{other:o}"),
    };
    File {
        kind,
        mode: u16::try_from(metadata.mode() & 0o7777).unwrap(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: (
            metadata.mtime(),
            u32::try_from(metadata.mtime_nsec()).unwrap(),
        ),
        nlink: u32::try_from(metadata.nlink()).unwrap(),
        xattrs: xattrs(path),
        first: Vec::new(),
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 1 << 16];
    let length = llistxattr(path, &mut names[..]).unwrap();
    let names = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 1 << 16];
        let length = lgetxattr(path, name, &mut value[..]).unwrap();
        value.truncate(length);
        (name.to_vec(), value)
    };
    names.map(value).collect()
}
