//! A Go toolchain: the machine's, or one of Debian's that fetches the version it is asked for.

use crate::{debian, process, repository};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest Go that can fetch a newer one by itself is 1.21; Debian 12 has 1.19, its backports 1.23.
const BACKPORTED: &str = "1.23";

/// The `go` to call.
pub(crate) fn find() -> Result<PathBuf> {
    let known = [PathBuf::from("go"), PathBuf::from("/usr/local/go/bin/go")];
    match known.into_iter().find(|go| fetches_versions(go)) {
        Some(go) => Ok(go),
        None => from_backports(),
    }
}

fn fetches_versions(go: &Path) -> bool {
    // An old one does not know the variable and prints an empty line.
    let mut command = Command::new(go);
    let output = command
        .args(["env", "GOTOOLCHAIN"])
        .stderr(Stdio::null())
        .output();
    output.is_ok_and(|output| output.status.success() && !output.stdout.trim_ascii().is_empty())
}

/// Unpacks Go from Debian's backports below `target/`, without installing it or touching the
/// machine's list of package sources.
fn from_backports() -> Result<PathBuf> {
    let dir = repository::target("tools")?.join("go");
    let go = dir.join(format!("usr/lib/go-{BACKPORTED}/bin/go"));
    if go.exists() {
        return Ok(go);
    }
    let scratch = dir.with_extension("partial");
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch).with_context(|| format!("make {}", scratch.display()))?;
    let packages = ["go", "src"].map(|part| format!("golang-{BACKPORTED}-{part}"));
    process::step("apt: downloading Go from Debian's backports");
    debian::download_from_backports(&packages, &scratch)?;
    fs::rename(&scratch, &dir).with_context(|| format!("rename to {}", dir.display()))?;
    fetches_versions(&go)
        .then_some(go)
        .context("the Go of Debian's backports does not run")
}
