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

    /// A call of `program` as user `id`, with the packages for a root: all that it needs is theirs.
    pub fn command(&self, program: &str, id: u32) -> Command {
        let mut command = Command::new("chroot");
        command.arg(format!("--userspec={id}:{id}"));
        command.arg(&self.root).arg(program);
        command
    }

    /// Paths of the libraries that the loader finds for `program`; all have to be there.
    pub fn libraries(&self, program: &str) -> Result<Vec<String>> {
        let mut command = self.command("/lib64/ld-linux-x86-64.so.2", 0);
        let output = command.args(["--list", program]).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "libraries of {program}: {said}");
        // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f…)`
        let path = |line: &str| {
            line.split_once("=> ")?
                .1
                .split(' ')
                .next()
                .map(str::to_owned)
        };
        Ok(String::from_utf8(output.stdout)?
            .lines()
            .filter_map(path)
            .collect())
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
