//! Running other programs, and saying what is going on.

use crate::repository;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitStatus, Stdio};

/// Tells the person at the terminal what takes the time now.
pub(crate) fn step(what: &str) {
    eprintln!("==> {what}");
}

/// Writes a line of results to stdout. Whoever reads it may have gone away.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The cargo that runs us, in the repository's root.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What `cargo xtask` was started with is not meant for the cargo inside.
    cargo
        .current_dir(repository::root())
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR");
    cargo
}

/// Runs `command` to its end; anything but success is an error that shows the command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {}", text(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", text(command));
    }
    Ok(())
}

/// Runs `command` with its output kept back, and shows that output only if it fails.
pub(crate) fn run_quietly(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", text(command)))?;
    if !output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stdout));
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        bail!("{} ended with {}", text(command), output.status);
    }
    Ok(())
}

/// Runs `command` without a sound, and says whether it ended well.
pub(crate) fn run_silently(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs `command` and returns what it wrote to stdout, without the last line end.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {}", text(command)))?;
    if !output.status.success() {
        bail!("{} ended with {}", text(command), output.status);
    }
    let stdout = String::from_utf8(output.stdout).with_context(|| text(command))?;
    Ok(stdout.trim_end().to_owned())
}

/// Runs `command`, passing on what it writes to stdout line by line.
pub(crate) fn each_line(command: &mut Command, mut line: impl FnMut(&str)) -> Result<ExitStatus> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("start {}", text(command)))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    for bytes in BufReader::new(stdout).split(b'\n') {
        line(&String::from_utf8_lossy(&bytes.context("read a line")?));
    }
    child.wait().context("wait for a command")
}

fn text(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
