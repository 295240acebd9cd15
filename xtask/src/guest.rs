//! `cargo xtask guest`: kernel and initramfs of our microVMs, from Debian's kernel packages.
//!
//! `target/guest/<series>/` holds `vmlinux` (the ELF kernel inside Debian's bzImage), `release` (what
//! `uname -r` prints) and `initramfs.cpio` (uncompressed: unpacking costs the guest less than
//! inflating). The initramfs is two archives one after the other, which the kernel unpacks in turn:
//! the modules, made once per kernel package, and the agent, cheap to replace after each build.

mod cpio;
mod modules;

use crate::kernel_package::{self, KernelPackage};
use crate::{build, process, repository};
use anyhow::{Context, Result};
use clap::Args;
use cpio::Archive;
use std::fs;
use std::path::{Path, PathBuf};

/// A kernel that guests may run, by the name operators know it by.
pub(crate) const SERIES: [(&str, &str); 2] = [
    ("6.12", kernel_package::LINUX_6_12),
    ("6.1", kernel_package::LINUX_6_1),
];

/// What the initramfs gets beside the modules.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Takes this static program as /init instead of building bulkhead-agent.
    #[arg(long)]
    init: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let init = match &options.init {
        Some(path) => path.clone(),
        None => {
            build::AGENT.build()?;
            build::AGENT.path()
        }
    };
    SERIES
        .iter()
        .try_for_each(|(series, metapackage)| make(series, metapackage, &init))
}

/// Makes what a guest of one series boots from.
fn make(series: &str, metapackage: &str, init: &Path) -> Result<()> {
    let dir = repository::target("guest")?.join(series);
    let package = KernelPackage::open(metapackage)?;
    let wanted = [&modules::FIRST[..], &["|"], &modules::LATER].concat();
    let stamp = format!("{} {}", package.release(), wanted.join(" "));
    if fs::read_to_string(dir.join("stamp")).is_ok_and(|made| made == stamp) {
        process::step(&format!(
            "guest {series}: kernel {} is there",
            package.release()
        ));
    } else {
        process::step(&format!(
            "guest {series}: unpacking kernel {}",
            package.release()
        ));
        make_kernel_part(&dir, &package)?;
        fs::write(dir.join("stamp"), stamp).context("write the stamp")?;
    }
    make_initramfs(&dir, init)
}

fn make_kernel_part(dir: &Path, package: &KernelPackage) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    let _ = fs::remove_file(dir.join("stamp"));
    fs::copy(package.vmlinux(), dir.join("vmlinux")).context("copy vmlinux")?;
    let archive = modules_archive(package)?;
    fs::write(dir.join("modules.cpio"), archive).context("write modules.cpio")?;
    fs::write(dir.join("release"), format!("{}\n", package.release())).context("write release")
}

/// The empty directories a system starts in, and the modules with the order to load them in.
fn modules_archive(package: &KernelPackage) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for dir in ["dev", "modules", "proc", "run", "sys"] {
        archive.directory(dir);
    }
    let first = modules::in_load_order(package, &modules::FIRST)?;
    let mut later = modules::in_load_order(package, &modules::LATER)?;
    later.retain(|file| !first.contains(file));
    add_modules(&mut archive, "order", &first)?;
    add_modules(&mut archive, "later", &later)?;
    Ok(archive.finish())
}

/// The modules, and the list that the agent loads them by.
fn add_modules(archive: &mut Archive, list: &str, files: &[PathBuf]) -> Result<()> {
    let mut order = String::new();
    for file in files {
        let name = file
            .file_name()
            .context("a module is a file")?
            .to_string_lossy();
        let path = format!("modules/{name}");
        let content = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        archive.file(&path, 0o644, &content);
        order.push_str(&format!("/{path}\n"));
    }
    archive.file(&format!("modules/{list}"), 0o644, order.as_bytes());
    Ok(())
}

fn make_initramfs(dir: &Path, init: &Path) -> Result<()> {
    let mut bytes = fs::read(dir.join("modules.cpio")).context("read modules.cpio")?;
    let content = fs::read(init).with_context(|| format!("read {}", init.display()))?;
    let mut archive = Archive::default();
    archive.file("init", 0o755, &content);
    bytes.extend(archive.finish());
    // Renamed into place: a machine may be booting from the old one.
    let (new, path) = (dir.join("initramfs.cpio.new"), dir.join("initramfs.cpio"));
    fs::write(&new, bytes).with_context(|| format!("write {}", new.display()))?;
    fs::rename(&new, &path).with_context(|| format!("rename to {}", path.display()))
}
