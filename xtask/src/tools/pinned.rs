//! Rust programs in the version that everybody uses: `target/tools/<name>-<version>/bin/<name>`.

use crate::{process, repository};
use anyhow::Result;
use std::path::PathBuf;

/// A program from the registry of Rust crates.
pub(crate) struct Pinned {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
}

impl Pinned {
    /// Where the program is; it is built when it is wanted for the first time.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        let Self { name, version } = self;
        let _lock = repository::lock(name)?;
        let root = repository::target(&format!("tools/{name}-{version}"))?;
        let program = root.join("bin").join(name);
        if !program.exists() {
            process::step(&format!(
                "cargo: building {name} {version} (some minutes, once)"
            ));
            let mut cargo = process::cargo();
            cargo.args(["install", "--locked", "--quiet", "--version", version, name]);
            process::run(cargo.arg("--root").arg(&root))?;
        }
        Ok(program)
    }
}
