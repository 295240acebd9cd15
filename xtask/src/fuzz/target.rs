//! A fuzz target: where it is, and how it is built.

use crate::tools::Pinned;
use crate::{process, repository};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const CARGO_FUZZ: Pinned = Pinned {
    name: "cargo-fuzz",
    version: "0.13.2",
};

/// The only platform that we build for.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// A file in `fuzz_targets/` of a folder.
pub(crate) struct Target {
    name: String,
    folder: PathBuf,
}

impl Target {
    /// Those in `folder`, by name.
    pub(super) fn all_in(folder: &Path) -> Result<Vec<Self>> {
        let dir = folder.join("fuzz_targets");
        let mut names = Vec::new();
        for entry in fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))? {
            let file = entry?.file_name().into_string().unwrap_or_default();
            names.extend(file.strip_suffix(".rs").map(str::to_owned));
        }
        names.sort();
        let folder = folder.to_owned();
        let target = |name| Self {
            name,
            folder: folder.clone(),
        };
        Ok(names.into_iter().map(target).collect())
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Words of its input's language, if it has any.
    pub(super) fn dictionary(&self) -> Option<PathBuf> {
        let path = self.folder.join(format!("fuzz_targets/{}.dict", self.name));
        path.exists().then_some(path)
    }

    /// Builds it with coverage, an address sanitizer and overflow checks.
    pub(super) fn build(&self, toolchain: &str) -> Result<()> {
        process::step(&format!("{}: building", self.name));
        // So that what is fuzzed are the versions that we ship.
        let lock = repository::root().join("Cargo.lock");
        fs::copy(lock, self.folder.join("Cargo.lock")).context("copy Cargo.lock")?;
        let mut command = Command::new(CARGO_FUZZ.path()?);
        command.current_dir(&self.folder);
        // What `cargo xtask` was started with is not meant for the cargo inside.
        for variable in ["CARGO", "RUSTC", "RUSTFLAGS", "CARGO_TARGET_DIR"] {
            command.env_remove(variable);
        }
        command.env("RUSTUP_TOOLCHAIN", toolchain);
        command.args([
            "build",
            "--fuzz-dir",
            ".",
            "--target",
            TRIPLE,
            "--target-dir",
        ]);
        process::run(command.arg(build_dir()?).arg(&self.name))
    }

    /// The program that [`Target::build`] made.
    pub(super) fn program(&self) -> Result<PathBuf> {
        let path = build_dir()?.join(TRIPLE).join("release");
        Ok(path.join(&self.name))
    }
}

fn build_dir() -> Result<PathBuf> {
    repository::target("fuzz/build")
}
