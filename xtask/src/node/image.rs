//! The node's disk: Debian user land and kernel, built once per recipe and cached.

mod own_files;

use super::qemu;
use crate::kernel_package::{self, KernelPackage};
use crate::{debian, process, repository};
use anyhow::{Context, Result, bail};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const PACKAGES: &str = include_str!("image/packages.txt");
/// Files of the keys that let us in, and prove that it is the node that we get into.
pub(crate) const CLIENT_KEY: &str = "client_key";
pub(crate) const KNOWN_HOSTS: &str = "known_hosts";

/// Size of the root file system; the file is sparse.
const DISK_SIZE: &str = "24G";

/// Increased when this file changes what it builds.
const RECIPE_VERSION: u32 = 2;

/// Documentation and translations, a third of the user land, which nobody reads in a node.
const LEFT_OUT: [&str; 3] = [
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
];

/// A built disk with its kernel and keys.
pub(crate) struct Image {
    dir: PathBuf,
}

impl Image {
    /// Builds the disk unless it is there.
    pub(crate) fn open() -> Result<Self> {
        debian::install(&qemu::PACKAGES)?;
        let _lock = repository::lock("node-image")?;
        let dir = repository::target("node")?.join(format!("image-{:016x}", recipe_hash()));
        if !dir.exists() {
            remove_older();
            build(&dir)?;
        }
        Ok(Self { dir })
    }

    pub(crate) fn disk(&self) -> PathBuf {
        self.dir.join("root.ext4")
    }

    pub(crate) fn kernel(&self) -> PathBuf {
        self.dir.join("vmlinux")
    }

    /// Copies what a client needs to get in, so that a running node outlives its image.
    pub(crate) fn copy_keys(&self, dir: &Path) -> Result<()> {
        for name in [CLIENT_KEY, KNOWN_HOSTS] {
            fs::copy(self.dir.join(name), dir.join(name)).context("copy the keys")?;
        }
        Ok(())
    }
}

/// Images of other recipes. Nodes that run on them have them open.
fn remove_older() {
    let entries = repository::target("node").and_then(|dir| Ok(fs::read_dir(dir)?));
    for entry in entries.into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("image-") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Changes when what is built changes, so that an old disk is never taken for a new one.
fn recipe_hash() -> u64 {
    let mut hasher = DefaultHasher::new();
    (PACKAGES, DISK_SIZE, RECIPE_VERSION, LEFT_OUT).hash(&mut hasher);
    own_files::recipe().hash(&mut hasher);
    hasher.finish()
}

fn packages() -> String {
    let lines = PACKAGES.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect::<Vec<_>>()
        .join(",")
}

/// Builds into a scratch directory and renames it, so that a half-built image is never used.
fn build(dir: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("building the node's disk needs root (it holds files of several users)");
    }
    let started = Instant::now();
    debian::install(&["mmdebstrap", "e2fsprogs"])?;
    let scratch = dir.with_extension("partial");
    let _ = fs::remove_dir_all(&scratch);
    let root = scratch.join("root");
    fs::create_dir_all(&scratch).with_context(|| format!("make {}", scratch.display()))?;
    process::step("building the node's disk: Debian user land (about a minute)");
    bootstrap(&root)?;
    process::step("building the node's disk: kernel");
    install_kernel(&root, &scratch)?;
    own_files::install(&root)?;
    make_keys(&root, &scratch)?;
    process::step("building the node's disk: file system");
    make_disk(&root, &scratch.join("root.ext4"))?;
    fs::remove_dir_all(&root).context("remove the unpacked user land")?;
    fs::rename(&scratch, dir).with_context(|| format!("rename to {}", dir.display()))?;
    process::step(&format!(
        "the node's disk is built, after {:.0?}",
        started.elapsed()
    ));
    Ok(())
}

fn bootstrap(root: &Path) -> Result<()> {
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--quiet", "--variant=essential", "--format=directory"]);
    mmdebstrap.arg(format!("--include={}", packages()));
    mmdebstrap.args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")));
    mmdebstrap.arg("bookworm").arg(root);
    process::run_quietly(&mut mmdebstrap)
}

fn install_kernel(root: &Path, scratch: &Path) -> Result<()> {
    let kernel = KernelPackage::open(kernel_package::LINUX_6_12)?;
    let modules = root.join("lib/modules");
    fs::create_dir_all(&modules).context("make lib/modules")?;
    process::run(
        Command::new("cp")
            .arg("-a")
            .arg(kernel.modules())
            .arg(&modules),
    )?;
    fs::copy(kernel.vmlinux(), scratch.join("vmlinux")).context("copy the kernel")?;
    Ok(())
}

/// One key pair to get in, one that proves to be the node. They never leave `target/`.
fn make_keys(root: &Path, scratch: &Path) -> Result<()> {
    let keygen = |path: &Path| {
        let _ = fs::remove_file(path);
        let mut command = Command::new("ssh-keygen");
        command
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "node", "-f"])
            .arg(path);
        process::run_quietly(&mut command)
    };
    let (client, host) = (
        scratch.join(CLIENT_KEY),
        root.join("etc/ssh/ssh_host_ed25519_key"),
    );
    keygen(&client)?;
    keygen(&host)?;
    let public = fs::read_to_string(host.with_extension("pub")).context("read the host's key")?;
    fs::write(scratch.join(KNOWN_HOSTS), format!("node {public}"))?;
    fs::copy(
        client.with_extension("pub"),
        root.join("etc/ssh/authorized_keys"),
    )?;
    Ok(())
}

/// No journal: a node's disk is thrown away with the node.
fn make_disk(root: &Path, disk: &Path) -> Result<()> {
    let mut mke2fs = Command::new("/sbin/mke2fs");
    mke2fs.args([
        "-q",
        "-t",
        "ext4",
        "-O",
        "^has_journal",
        "-E",
        "lazy_itable_init=1,nodiscard",
    ]);
    mke2fs
        .args(["-m", "0", "-L", "node", "-d"])
        .arg(root)
        .arg(disk)
        .arg(DISK_SIZE);
    process::run_quietly(&mut mke2fs)
}
