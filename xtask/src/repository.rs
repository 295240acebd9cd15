//! Where things are in the checkout.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The directory of the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask/ is a folder of the repository")
}

/// A directory under `target/`, made if it is not there.
pub(crate) fn target(relative: &str) -> Result<PathBuf> {
    let dir = root().join("target").join(relative);
    std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    Ok(dir)
}
