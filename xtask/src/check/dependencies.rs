//! The crates that we are made of: `deny.toml` says what is allowed.

use crate::tools::Pinned;
use crate::{process, repository};
use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};

const CARGO_DENY: Pinned = Pinned {
    name: "cargo-deny",
    version: "0.20.2",
};

/// How cargo-deny begins to say that the database can't be reached, and not that something is wrong
/// here.
const UNREACHABLE: &str = "failed to fetch advisory database";

/// Licences, sources, versions, and who may depend on what.
pub(super) fn graph() -> Result<()> {
    let mut command = cargo_deny()?;
    command.args(["check", "--hide-inclusion-graph"]);
    // The arrows name who may depend on a crate, whether or not it does today.
    command.args(["--allow", "unused-wrapper"]);
    process::run(command.args(["bans", "licenses", "sources"]))
}

/// Known vulnerabilities, and crates that were withdrawn. A machine that can't reach the database goes
/// without, and is told so.
pub(super) fn advisories() -> Result<()> {
    let fetched = cargo_deny()?
        .args(["fetch", "db"])
        .stdin(Stdio::null())
        .output()
        .context("start cargo-deny")?;
    if !fetched.status.success() {
        let said = String::from_utf8_lossy(&fetched.stderr);
        if !said.contains(UNREACHABLE) {
            bail!("fetch the database of advisories: {}", said.trim());
        }
        let reason = said.trim().lines().last().unwrap_or_default();
        process::step(&format!(
            "advisories: NOT CHECKED, their database can't be fetched: {reason}"
        ));
        return Ok(());
    }
    let mut command = cargo_deny()?;
    process::run(command.args(["check", "--hide-inclusion-graph", "advisories"]))
}

fn cargo_deny() -> Result<Command> {
    let mut command = Command::new(CARGO_DENY.path()?);
    command.current_dir(repository::root());
    command.args(["--all-features", "--locked"]);
    Ok(command)
}
