//! Where things are in the checkout.

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The directory of the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask/ is a folder of the repository")
}

/// The folders of the workspace's crates, from the root manifest.
pub(crate) fn members() -> Result<Vec<String>> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).context("read Cargo.toml")?;
    let list = manifest
        .split_once("members = [")
        .and_then(|(_, rest)| rest.split_once(']'));
    let (list, _) = list.context("Cargo.toml lists no members")?;
    Ok(list
        .split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect())
}

/// A directory under `target/`, made if it is not there.
pub(crate) fn target(relative: &str) -> Result<PathBuf> {
    let dir = root().join("target").join(relative);
    std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    Ok(dir)
}

/// Holds off other runs of ours that would make the same thing, until the result is dropped.
pub(crate) fn lock(what: &str) -> Result<File> {
    let path = target("locks")?.join(what);
    let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        crate::process::step(&format!("waiting for another run to finish with {what}"));
        flock(&file, FlockOperation::LockExclusive).context("wait for the lock")?;
    }
    Ok(file)
}
