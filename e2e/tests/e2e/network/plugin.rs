//! A CNI plugin of a test's own, as a shell script beside the real ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// Searched by the server before Debian's directory.
const DIRECTORY: &str = "/opt/cni/bin";

/// Dropped, it is gone.
#[derive(Debug)]
pub(super) struct Plugin {
    path: PathBuf,
}

impl Plugin {
    /// A plugin of type `name` that is this whole script.
    pub(super) fn install(name: &str, script: &str) -> Result<Self> {
        fs::create_dir_all(DIRECTORY).with_context(|| format!("make {DIRECTORY}"))?;
        let path = PathBuf::from(DIRECTORY).join(name);
        fs::write(&path, script).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Self { path })
    }

    /// A plugin that comes after another one and does `add` before it passes that one's result on.
    /// Undoing succeeds.
    pub(super) fn passing_on(name: &str, add: &str) -> Result<Self> {
        Self::doing(name, add, "true")
    }

    /// The same, and it does `del` to undo.
    pub(super) fn doing(name: &str, add: &str, del: &str) -> Result<Self> {
        let script = format!(
            r#"#!/bin/sh
conf=$(cat)
case $CNI_COMMAND in
VERSION) echo '{{"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"]}}' ;;
ADD) {add}; echo "$conf" | jq -c .prevResult ;;
DEL) {del} ;;
esac
"#
        );
        Self::install(name, &script)
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
