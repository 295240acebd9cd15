//! What this checkout has built, as the node sees it: everything below `/opt`.
//!
//! A node gets it on a read-only EROFS disk of its own when it boots (half a second to make, nothing
//! to copy inside), with a writable overlay on top, so that later builds can be pushed over it.

use crate::build::Binary;
use crate::guest;
use crate::{build, debian, process, repository};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the disk's root is in the node.
const MOUNT_POINT: &str = "/opt";

/// A file or directory of this machine and its path below [`MOUNT_POINT`].
#[derive(Clone)]
pub(crate) struct Product {
    source: PathBuf,
    path: String,
}

impl Product {
    /// `path` is relative to [`MOUNT_POINT`].
    pub(crate) fn new(source: PathBuf, path: String) -> Self {
        Self { source, path }
    }

    /// A binary of ours, where the node expects it.
    pub(crate) fn of_binary(binary: &Binary) -> Self {
        Self::new(binary.path(), format!("bulkhead/bin/{}", binary.name))
    }

    pub(crate) fn source(&self) -> &Path {
        &self.source
    }

    /// Where it is in the node.
    pub(crate) fn destination(&self) -> String {
        format!("{MOUNT_POINT}/{}", self.path)
    }

    /// A line that changes when the file does.
    fn fingerprint(&self) -> Result<String> {
        let metadata = self
            .source
            .metadata()
            .with_context(|| format!("find {}", self.source.display()))?;
        let Self { path, .. } = self;
        Ok(format!(
            "{path} {} {}.{:09}",
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec()
        ))
    }
}

/// All that is there now. What was not built yet is simply missing in the node, too.
pub(crate) fn all() -> Result<Vec<Product>> {
    let root = repository::root();
    let mut products = Vec::new();
    let mut add_product = |product: Product| {
        if product.source.exists() {
            products.push(product);
        }
    };
    build::BINARIES
        .iter()
        .for_each(|binary| add_product(Product::of_binary(binary)));
    let mut add = |source: PathBuf, path: String| add_product(Product::new(source, path));
    for (series, _) in guest::SERIES {
        for file in ["vmlinux", "initramfs.cpio", "release"] {
            let source = root.join("target/guest").join(series).join(file);
            add(source, format!("bulkhead/guest/{series}/{file}"));
        }
    }
    for tool in ["crictl", "critest"] {
        add(
            root.join("target/tools").join(tool),
            format!("tools/bin/{tool}"),
        );
    }
    for entry in fs::read_dir(root.join("manifests")).context("read manifests/")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        add(
            root.join("manifests").join(&name),
            format!("bulkhead/manifests/{name}"),
        );
    }
    add(root.join("target/registry"), "registry".to_owned());
    Ok(products)
}

/// `products`, where those of `extra` stand in for what has the same path.
pub(crate) fn with(mut products: Vec<Product>, extra: &[Product]) -> Vec<Product> {
    products.retain(|product| !extra.iter().any(|extra| extra.path == product.path));
    products.extend_from_slice(extra);
    products
}

/// Those of `products` that are not as `fingerprints`, the text of an earlier call, had them.
pub(crate) fn changed(products: Vec<Product>, fingerprints: &str) -> Result<Vec<Product>> {
    let mut changed = Vec::new();
    for product in products {
        let fingerprint = product.fingerprint()?;
        if !fingerprints.lines().any(|line| line == fingerprint) {
            changed.push(product);
        }
    }
    Ok(changed)
}

/// What the products are like now, for [`changed`].
pub(crate) fn fingerprints(products: &[Product]) -> Result<String> {
    let mut text = String::new();
    for product in products {
        writeln!(text, "{}", product.fingerprint()?)?;
    }
    Ok(text)
}

/// Makes the disk image at `disk` by way of `scratch`, a directory on the same file system.
pub(crate) fn make_disk(products: &[Product], scratch: &Path, disk: &Path) -> Result<()> {
    debian::install(&["erofs-utils"])?;
    fs::create_dir_all(scratch).with_context(|| format!("make {}", scratch.display()))?;
    for product in products {
        let path = scratch.join(&product.path);
        let parent = path.parent().expect("every product has a directory");
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        // Hard links: nothing is copied until mkfs reads it.
        let mut copy = Command::new("cp");
        copy.args(["--archive", "--link", "--dereference"])
            .arg(&product.source)
            .arg(&path);
        process::run_quietly(&mut copy)?;
    }
    let mut mkfs = Command::new("mkfs.erofs");
    mkfs.args(["--all-root", "--quiet"]).arg(disk).arg(scratch);
    process::run_quietly(&mut mkfs)?;
    fs::remove_dir_all(scratch).context("remove the scratch directory")
}
