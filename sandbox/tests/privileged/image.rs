//! An image for the checks, made of the node's own busybox, iproute2 and socat: a directory, and the same as EROFS.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use sandbox::spec::{Extent, ImageFiles};

/// Where EROFS images must end.
const BLOCK: u64 = 4096;

/// The files of the image below `dir`, which are made if they aren't there yet.
pub fn directory(dir: &Path) -> ImageFiles {
    let tree = dir.join("tree");
    if !tree.exists() {
        make_tree(&tree);
    }
    ImageFiles::Mounted(tree)
}

/// The same files as one EROFS file system.
pub fn erofs(dir: &Path) -> ImageFiles {
    let blob = dir.join("image.erofs");
    if !blob.exists() {
        directory(dir);
        let made = Command::new("mkfs.erofs")
            .arg("--quiet")
            .arg(&blob)
            .arg(dir.join("tree"))
            .status();
        assert!(made.expect("mkfs.erofs is installed").success());
        let file = fs::OpenOptions::new().write(true).open(&blob).unwrap();
        file.set_len(file.metadata().unwrap().len().next_multiple_of(BLOCK))
            .unwrap();
    }
    ImageFiles::Extents {
        key: "busybox".into(),
        extents: vec![Extent {
            len: blob.metadata().unwrap().len(),
            path: blob,
            offset: 0,
        }],
    }
}

fn make_tree(tree: &Path) {
    for dir in ["bin", "sbin", "etc", "proc", "sys", "dev", "tmp", "root"] {
        fs::create_dir_all(tree.join(dir)).unwrap();
    }
    fs::write(tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    fs::write(tree.join("etc/group"), "root:x:0:\n").unwrap();
    let busybox = fs::canonicalize("/bin/busybox").expect("busybox is installed");
    copy(&busybox, &tree.join("bin/busybox"), tree);
    // Busybox's own does not tell all of a route.
    copy(Path::new("/bin/ip"), &tree.join("sbin/ip"), tree);
    // Busybox's own does not speak vsock.
    copy(Path::new("/bin/socat"), &tree.join("bin/socat"), tree);
    let listed = Command::new(&busybox).arg("--list").output().unwrap();
    for applet in String::from_utf8(listed.stdout).unwrap().lines() {
        if applet != "busybox" {
            symlink("busybox", tree.join("bin").join(applet)).unwrap();
        }
    }
}

/// With its libraries, which are found by their paths.
fn copy(program: &Path, place: &Path, tree: &Path) {
    fs::copy(program, place).unwrap();
    for library in libraries(program) {
        let place = tree.join(library.strip_prefix("/").unwrap());
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(&library, place).unwrap();
    }
}

/// The absolute paths that `ldd` names.
fn libraries(program: &Path) -> BTreeSet<PathBuf> {
    let listed = Command::new("ldd")
        .arg(program)
        .output()
        .expect("ldd is installed");
    let text = String::from_utf8(listed.stdout).unwrap();
    text.split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}
