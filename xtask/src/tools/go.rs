//! Go modules whose programs we use, and a Go toolchain: the machine's, or one of Debian's that fetches
//! the version it is asked for.

use crate::{debian, process, repository};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest Go that can fetch a newer one by itself is 1.21; Debian 12 has 1.19, its backports 1.23.
const BACKPORTED: &str = "1.23";

/// A Go module of ours that pins programs of others.
pub(super) struct Module {
    directory: PathBuf,
    target: PathBuf,
    /// Its `go.mod`: with another one, what is built is another.
    wanted: String,
}

impl Module {
    /// The module in `directory`, whose programs go to `target`.
    pub(super) fn open(directory: &str, target: &str) -> Result<Self> {
        let directory = repository::root().join(directory);
        let path = directory.join("go.mod");
        let wanted =
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(Self {
            directory,
            target: repository::target(target)?,
            wanted,
        })
    }

    /// Where the program `name` is once it is built.
    pub(super) fn product(&self, name: &str) -> PathBuf {
        self.target.join(name)
    }

    /// Builds the program `name` of `package`, linked statically, if it is missing or of another `go.mod`.
    pub(super) fn build(&self, name: &str, verb: &[&str], package: &str) -> Result<()> {
        self.build_for(name, verb, package, "0")
    }

    /// The same where parts of it are in C.
    pub(super) fn build_with_c(&self, name: &str, verb: &[&str], package: &str) -> Result<()> {
        self.build_for(name, verb, package, "1")
    }

    fn build_for(&self, name: &str, verb: &[&str], package: &str, cgo: &str) -> Result<()> {
        let (product, stamp) = (self.product(name), self.product(&format!("{name}.stamp")));
        let built = fs::read_to_string(&stamp).unwrap_or_default();
        if product.exists() && built == self.wanted {
            return Ok(());
        }
        process::step(&format!(
            "go: building {name} (a minute or two the first time)"
        ));
        let mut command = Command::new(find()?);
        command
            .current_dir(&self.directory)
            .env("CGO_ENABLED", cgo)
            .env("GOTOOLCHAIN", "auto");
        command
            .args(verb)
            .args(["-trimpath", "-ldflags=-s -w", "-o"])
            .arg(product);
        process::run_quietly(command.arg(package))?;
        fs::write(stamp, &self.wanted).context("remember what was built")
    }
}

/// The `go` to call.
fn find() -> Result<PathBuf> {
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
