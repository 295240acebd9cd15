//! `cargo xtask tools`: crictl and critest, from the Go module `e2e/tools`, into `target/tools/`.

mod go;
mod pinned;

use crate::{process, repository};
use anyhow::{Context, Result};
use std::fs;
use std::process::Command;

pub(crate) use pinned::Pinned;

/// Builds what is missing or older than the versions that `go.mod` asks for.
pub(crate) fn run() -> Result<()> {
    let _lock = repository::lock("tools")?;
    let dir = repository::target("tools")?;
    let module = repository::root().join("e2e/tools");
    let wanted = fs::read_to_string(module.join("go.mod")).context("read e2e/tools/go.mod")?;
    if fs::read_to_string(dir.join("stamp")).is_ok_and(|built| built == wanted) {
        return Ok(());
    }
    let go = go::find()?;
    let build = |what: &str, verb: &[&str], package: &str| -> Result<()> {
        process::step(&format!(
            "go: building {what} (a minute or two the first time)"
        ));
        let mut command = Command::new(&go);
        command
            .current_dir(&module)
            .env("CGO_ENABLED", "0")
            .env("GOTOOLCHAIN", "auto");
        command
            .args(verb)
            .args(["-trimpath", "-ldflags=-s -w", "-o"])
            .arg(dir.join(what));
        process::run_quietly(command.arg(package))
    };
    build("crictl", &["build"], "sigs.k8s.io/cri-tools/cmd/crictl")?;
    // critest is a test of its package, and needs what `ginkgo` needs: a compiled one.
    build(
        "critest",
        &["test", "-c"],
        "sigs.k8s.io/cri-tools/cmd/critest",
    )?;
    fs::write(dir.join("stamp"), wanted).context("write the stamp")
}
