//! One image, seen through the host's mount, the guest's disk, an overlay of blobs, and `umoci unpack`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::image::{Files, Image, Kind, image};
use crate::mounted::{Mounted, disk, files};
use crate::oci::write_layout;
use crate::tar::{Entry, Tar};

/// Layers with one of everything that overlayfs can express: each layer describes its directories.
fn layers() -> Vec<Tar> {
    let directory = |path: &str| Entry {
        mode: 0o755,
        ..Entry::directory(path)
    };
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let acl = [
        2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 1, 0, 0, 0, 4, 0, 4, 0, 255,
    ]
    .iter()
    .chain(&[
        255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
    ])
    .copied()
    .collect::<Vec<u8>>();
    let bottom = [
        directory("./"),
        Entry {
            mode: 0o1777,
            ..Entry::directory("tmp")
        },
        directory("opaque"),
        Entry::file("opaque/old", "1"),
        directory("swap"),
        Entry::file("swap/inside", "1"),
        Entry::file("gone", "1"),
        Entry::file("a", vec![1; 100_000]),
        Entry::hard_link("b", "a"),
        Entry::symlink("link", "t".repeat(4000)),
        Entry::symlink("short", "a"),
        Entry::char_device("null", 1, 3),
        Entry {
            device: (8, 300),
            ..Entry::new(b'4', "disk")
        },
        Entry::new(b'6', "pipe"),
        directory("many"),
    ];
    let many = (0..3000).map(|n| Entry::file(format!("many/{n:x}{}", "n".repeat(n % 90)), ""));
    let middle = [
        directory("./"),
        Entry::file(".wh.gone", ""),
        directory("opaque"),
        Entry::file("opaque/new", "2"),
        Entry::file("opaque/.wh..wh..opq", ""),
        Entry::symlink("swap", "tmp"),
        Entry {
            uid: 3_000_000,
            gid: 4_000_000_000,
            ..Entry::file("big", "2")
        },
        Entry {
            mode: 0o4755,
            ..Entry::file("capable", "2")
        }
        .pax("SCHILY.xattr.security.capability", capability)
        .pax("SCHILY.xattr.user.note", "x".repeat(3000))
        .pax("mtime", "1600000000.123456789"),
        Entry {
            mode: 0o644,
            ..Entry::file("acl", "2")
        }
        .pax("SCHILY.xattr.system.posix_acl_access", acl),
    ];
    let top = [
        Entry::file("sparse", "end")
            .pax("GNU.sparse.size", "300003")
            .pax("GNU.sparse.numblocks", "1")
            .pax("GNU.sparse.map", "300000,3"),
        Entry::file(vec![b'n'; 255], "3"),
        directory("./"),
        directory("many"),
        Entry::file("many/.wh.0", ""),
    ];
    vec![
        bottom.into_iter().chain(many).collect(),
        middle.into_iter().collect(),
        Tar::from_iter(top),
    ]
}

/// An image on disk.
struct Stored {
    image: Image,
    dir: TempDir,
}

impl Stored {
    fn new() -> Self {
        let (image, dir) = (image(layers()), disk());
        for (index, layer) in image.layers.iter().enumerate() {
            fs::write(dir.path().join(index.to_string()), layer).unwrap();
        }
        fs::write(dir.path().join("merged"), &image.merged).unwrap();
        fs::write(dir.path().join("guest"), image.guest_disk()).unwrap();
        Self { image, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn layers(&self) -> Vec<PathBuf> {
        (0..self.image.layers.len())
            .map(|index| self.path(&index.to_string()))
            .collect()
    }
}

/// Reports the first difference only: whole trees are no message.
#[track_caller]
fn check(seen: &Files, expected: &Files) {
    assert_eq!(
        seen.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (path, file) in expected {
        assert_eq!(&seen[path], file, "{}", path.escape_ascii());
    }
}

#[test]
fn the_host_mounts_the_merged_file_with_its_layers() {
    let stored = Stored::new();
    let mounted = Mounted::erofs(&stored.path("merged"), &stored.layers());
    check(&files(mounted.path()), &stored.image.files());
}

#[test]
fn the_guests_disk_mounts_as_it_is() {
    let stored = Stored::new();
    let mounted = Mounted::erofs(&stored.path("guest"), &[]);
    check(&files(mounted.path()), &stored.image.files());
}

#[test]
fn blobs_stack_to_the_same_files() {
    let stored = Stored::new();
    let layers: Vec<_> = stored
        .layers()
        .iter()
        .map(|layer| Mounted::erofs(layer, &[]))
        .collect();
    let overlay = Mounted::overlay(&layers.iter().rev().collect::<Vec<_>>());
    let seen = without_directory_times(files(overlay.path()));
    // overlayfs does not count subdirectories, nor the names that a layer above hides.
    let mut expected = without_directory_times(stored.image.files());
    for (path, file) in &mut expected {
        file.nlink = seen[path].nlink;
    }
    check(&seen, &expected);
}

#[test]
fn umoci_unpacks_the_same_files() {
    let stored = Stored::new();
    let dir = disk();
    let tars: Vec<_> = layers().into_iter().map(Tar::finish).collect();
    write_layout(&dir.path().join("oci"), &tars);
    run(Command::new("umoci")
        .current_dir(dir.path())
        .args(["unpack", "--image", "oci:test", "bundle"]));
    let seen = without_directory_times(files(&dir.path().join("bundle/rootfs")));
    check(&seen, &without_directory_times(stored.image.files()));
}

#[test]
fn the_checker_of_the_kernels_authors_finds_no_fault() {
    let stored = Stored::new();
    for path in stored.layers().iter().chain([&stored.path("guest")]) {
        run(Command::new("fsck.erofs").arg(path));
    }
}

/// Unpacking into directories leaves its traces in them.
fn without_directory_times(mut files: Files) -> Files {
    for file in files
        .values_mut()
        .filter(|file| file.kind == Kind::Directory)
    {
        file.mtime = (0, 0);
    }
    files
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command
        .output()
        .expect("this test needs umoci and erofs-utils");
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// A real tree, where there is one: everything that Debian's tools wrote below /etc and /usr/share/doc.
#[test]
fn a_tree_of_this_machine_survives() {
    let dir = disk();
    let tar = dir.path().join("tar");
    run(Command::new("tar")
        .args([
            "--create",
            "--xattrs",
            "--format=posix",
            "--directory=/",
            "--file",
        ])
        .args([&tar, Path::new("etc"), Path::new("usr/share/doc")]));
    let (blob, _) = crate::image::convert(&fs::read(tar).unwrap()).unwrap();
    let image = crate::image::merge_blobs(vec![blob]).unwrap();
    fs::write(dir.path().join("guest"), image.guest_disk()).unwrap();
    let mounted = Mounted::erofs(&dir.path().join("guest"), &[]);
    check(&files(mounted.path()), &image.files());
    for tree in ["etc", "usr/share/doc"] {
        let within = |files: Files| -> Files {
            files
                .into_iter()
                .map(|(path, mut file)| {
                    // Links may lead out of the tree, and reading sets nothing but access times.
                    (file.nlink, file.first) = (0, Vec::new());
                    (path, file)
                })
                .collect()
        };
        let seen = within(files(&mounted.path().join(tree)));
        check(&seen, &within(files(&Path::new("/").join(tree))));
    }
}
