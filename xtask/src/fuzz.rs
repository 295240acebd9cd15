//! `cargo xtask fuzz`: hostile input against everything that reads it, for a while each.
//!
//! A crate keeps its targets in its folder `fuzz/`, which is no member of the workspace: it needs a
//! nightly compiler and a C++ one. What fuzzing learns stays in `target/fuzz/`.

mod campaign;
mod target;

use crate::{debian, process, repository};
use anyhow::{Context, Result, bail};
use campaign::Outcome;
use clap::Args;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use target::Target;

/// Has the sanitizers and the coverage that libFuzzer lives on.
const TOOLCHAIN: &str = "nightly";

/// What to fuzz, and for how long.
#[derive(Args)]
pub(crate) struct Options {
    /// One of the targets; all of them if it is left out.
    target: Option<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Show the targets instead.
    #[arg(long)]
    list: bool,
}

/// The folders with fuzz targets.
pub(crate) fn folders() -> Result<Vec<PathBuf>> {
    let members = repository::members()?.into_iter();
    let folders = members.map(|member| repository::root().join(member).join("fuzz"));
    Ok(folders
        .filter(|folder| folder.join("Cargo.toml").exists())
        .collect())
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let targets = chosen(options.target.as_deref())?;
    if options.list {
        targets
            .iter()
            .for_each(|target| process::say(target.name()));
        return Ok(ExitCode::SUCCESS);
    }
    let _lock = repository::lock("fuzz")?;
    debian::install(&["g++"])?;
    toolchain()?;
    for target in &targets {
        target.build(TOOLCHAIN)?;
    }
    let mut clean = true;
    for target in &targets {
        process::step(&format!("{}: {} s", target.name(), options.seconds));
        let outcome = campaign::run(target, options.seconds)?;
        clean &= matches!(outcome, Outcome::Clean { .. });
        process::say(&format!("{:24} {outcome}", target.name()));
    }
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn chosen(name: Option<&str>) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for folder in folders()? {
        targets.extend(Target::all_in(&folder)?);
    }
    let Some(name) = name else {
        return Ok(targets);
    };
    targets.retain(|target| target.name() == name);
    if targets.is_empty() {
        bail!("no target {name}: see `cargo xtask fuzz --list`");
    }
    Ok(targets)
}

/// Installs the toolchain where it is missing.
fn toolchain() -> Result<()> {
    let rustup = |verb: &[&str]| {
        let mut command = Command::new("rustup");
        command.args(verb);
        command
    };
    if process::run_silently(&mut rustup(&["run", TOOLCHAIN, "rustc", "--version"])) {
        return Ok(());
    }
    process::step("rustup: installing the nightly toolchain");
    let install = ["toolchain", "install", TOOLCHAIN, "--profile", "minimal"];
    process::run_quietly(&mut rustup(&install)).context("fuzzing needs a nightly toolchain")
}
