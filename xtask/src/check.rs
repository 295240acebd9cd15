//! `cargo xtask check`: what review would say anyway.

use crate::{debian, process, repository, tidy};
use anyhow::{Result, bail};
use std::process::Command;

/// The version of cargo-deny that CI and everybody else use.
const CARGO_DENY: &str = "0.20.2";

/// A part that passes or fails on its own.
type Step = fn() -> Result<()>;

/// Runs every step, also after one has failed, and names those that did.
pub(crate) fn run() -> Result<()> {
    debian::install(&["protobuf-compiler"])?;
    let steps: [(&str, Step); 5] = [
        ("formatting", formatting),
        ("tidy", tidy::run),
        ("clippy", clippy),
        ("documentation", documentation),
        ("dependencies", dependencies),
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
    process::run(process::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    let mut cargo = process::cargo();
    cargo.args(["clippy", "--workspace", "--all-targets", "--all-features"]);
    process::run(cargo.args(["--", "-D", "warnings"]))
}

fn documentation() -> Result<()> {
    let mut cargo = process::cargo();
    cargo
        .args(["doc", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings");
    process::run(&mut cargo)
}

/// Licences, sources and who may depend on what. Not the advisories: their database is elsewhere.
fn dependencies() -> Result<()> {
    let deny = repository::target("tools")?.join("bin/cargo-deny");
    if !deny.exists() {
        process::step("cargo: building cargo-deny (some minutes, once)");
        let mut cargo = process::cargo();
        cargo.args([
            "install",
            "--locked",
            "--quiet",
            "--version",
            CARGO_DENY,
            "cargo-deny",
        ]);
        process::run(cargo.arg("--root").arg(repository::target("tools")?))?;
    }
    let mut command = Command::new(&deny);
    command.current_dir(repository::root());
    command.args(["--all-features", "check", "--hide-inclusion-graph"]);
    process::run(command.args(["bans", "licenses", "sources"]))
}
