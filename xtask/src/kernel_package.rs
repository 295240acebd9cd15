//! Debian's kernel packages, fetched and unpacked without installing them.

mod vmlinux;

use crate::{debian, process, repository};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Stands for the newest 6.12 kernel in Debian 12.
pub(crate) const LINUX_6_12: &str = "linux-image-6.12-cloud-amd64";

/// Stands for the newest 6.1 kernel, which Debian 12 came with.
pub(crate) const LINUX_6_1: &str = "linux-image-cloud-amd64";

/// One unpacked kernel package.
pub(crate) struct KernelPackage {
    dir: PathBuf,
    release: String,
}

impl KernelPackage {
    /// Downloads and unpacks the kernel that `metapackage` stands for, once per version of it.
    pub(crate) fn open(metapackage: &str) -> Result<Self> {
        let _lock = repository::lock("kernel")?;
        // Old package lists name a version that the mirrors don't have any more.
        Self::fetch(metapackage).or_else(|_| {
            debian::update()?;
            Self::fetch(metapackage)
        })
    }

    fn fetch(metapackage: &str) -> Result<Self> {
        let package = debian::dependency(metapackage)?;
        let release = package.trim_start_matches("linux-image-").to_owned();
        let dir = repository::target("kernel")?.join(&package);
        if !dir.exists() {
            process::step(&format!("apt: downloading {package}"));
            download(&package, &release, &dir)?;
        }
        Ok(Self { dir, release })
    }

    /// What `uname -r` prints on it.
    pub(crate) fn release(&self) -> &str {
        &self.release
    }

    /// The ELF kernel. It starts at its PVH entry, so nothing is decompressed at boot.
    pub(crate) fn vmlinux(&self) -> PathBuf {
        self.dir.join("vmlinux")
    }

    /// The directory that holds `kernel/` with the modules.
    pub(crate) fn modules(&self) -> PathBuf {
        self.dir.join("lib/modules").join(&self.release)
    }
}

fn download(package: &str, release: &str, dir: &Path) -> Result<()> {
    let scratch = dir.with_file_name(format!("{package}.partial"));
    if scratch.exists() {
        fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
    }
    fs::create_dir_all(&scratch).with_context(|| format!("make {}", scratch.display()))?;
    // apt warns that its sandbox user cannot write here, and goes on; as root that is all right.
    let mut apt = Command::new("apt-get");
    apt.args(["-qq", "-o", "APT::Sandbox::User=root", "download", package])
        .current_dir(&scratch);
    process::run_quietly(&mut apt)?;
    let deb = fs::read_dir(&scratch)?
        .next()
        .with_context(|| format!("apt-get download {package} left no file"))??
        .path();
    process::run(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(&deb)
            .arg(&scratch),
    )?;
    fs::remove_file(&deb)?;
    prepare_modules(&scratch, release)?;
    let bzimage = scratch.join(format!("boot/vmlinuz-{release}"));
    vmlinux::extract(&bzimage, &scratch.join("vmlinux"))?;
    fs::rename(&scratch, dir).with_context(|| format!("rename to {}", dir.display()))
}

/// Decompresses the modules and works out their dependencies. A guest or a node would spend its own,
/// slower time on the first at each boot.
fn prepare_modules(dir: &Path, release: &str) -> Result<()> {
    debian::install(&["kmod", "xz-utils"])?;
    let modules = dir.join("lib/modules");
    let mut xz = Command::new("find");
    xz.arg(&modules)
        .args(["-name", "*.ko.xz", "-exec", "xz", "--decompress", "{}", "+"]);
    process::run_quietly(&mut xz)?;
    process::run_quietly(Command::new("/sbin/depmod").arg("-b").arg(dir).arg(release))
}
