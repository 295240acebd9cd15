//! Debian packages as the source of what goes into test images.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Unpacked Debian packages below one root.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Downloads `packages` and unpacks them below `directory`, once.
    pub fn fetch(directory: &Path, packages: &[&str]) -> Result<Self> {
        let root = directory.join("tree");
        let done = directory.join("packages");
        if fs::read_to_string(&done).is_ok_and(|had| had == packages.join(" ")) {
            return Ok(Self { root });
        }
        let _ = fs::remove_dir_all(directory);
        fs::create_dir_all(&root).with_context(|| format!("make {}", root.display()))?;
        run(Command::new("apt-get")
            .arg("download")
            .args(packages)
            .current_dir(directory))?;
        for entry in fs::read_dir(directory)? {
            let package = entry?.path();
            if package.extension().is_some_and(|e| e == "deb") {
                run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&root))?;
            }
        }
        fs::write(&done, packages.join(" "))?;
        Ok(Self { root })
    }

    /// Where a file of the packages is, by its path on an installed system.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// What `program` of the packages prints.
    pub fn output(&self, program: &str, argument: &str) -> Result<String> {
        let program = self.path(program);
        let output = Command::new(&program).arg(argument).output();
        let output = output.with_context(|| format!("run {}", program.display()))?;
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// Runs a command quietly; what it printed is in the error if it failed.
pub fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command:?}: {}: {said}",
        output.status
    );
    Ok(())
}
