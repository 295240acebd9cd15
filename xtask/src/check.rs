//! `cargo xtask check`: what review would say anyway.

mod dependencies;

use crate::{build, debian, fuzz, process, tidy};
use anyhow::{Result, bail};

/// A part that passes or fails on its own.
type Step = fn() -> Result<()>;

/// Runs every step, also after one has failed, and names those that did.
pub(crate) fn run() -> Result<()> {
    debian::install(&["protobuf-compiler"])?;
    debian::install(&build::NATIVE_PACKAGES)?;
    let steps: [(&str, Step); 6] = [
        ("formatting", formatting),
        ("tidy", tidy::run),
        ("clippy", clippy),
        ("documentation", documentation),
        ("dependencies", dependencies::graph),
        ("advisories", dependencies::advisories),
    ];
    let mut failed = Vec::new();
    for (name, step) in steps {
        process::step(name);
        if let Err(error) = step() {
            eprintln!("{name}: {error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("check failed: {}", failed.join(", "));
    }
    Ok(())
}

fn formatting() -> Result<()> {
    process::run(process::cargo().args(["fmt", "--all", "--check"]))?;
    for folder in fuzz::folders()? {
        let mut cargo = process::cargo();
        cargo.current_dir(folder).args(["fmt", "--check"]);
        process::run(&mut cargo)?;
    }
    Ok(())
}

fn clippy() -> Result<()> {
    let mut cargo = process::cargo();
    cargo.args(["clippy", "--workspace", "--all-targets", "--all-features"]);
    process::run(cargo.args(["--", "-D", "warnings"]))
}

fn documentation() -> Result<()> {
    let mut cargo = process::cargo();
    cargo
        .args(["doc", "--workspace", "--all-features", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings");
    process::run(&mut cargo)
}
