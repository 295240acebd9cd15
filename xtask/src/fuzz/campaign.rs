//! One target, fuzzed for a while.

use super::target::Target;
use crate::{process, repository};
use anyhow::{Context, Result};
use std::fmt;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Most memory of a target, and longest time for one input: more is a finding.
const MEMORY_MIB: u32 = 2048;
const TIMEOUT_SECONDS: u32 = 20;

/// How it ended.
pub(super) enum Outcome {
    /// Nothing was found in so many executions.
    Clean { executions: u64, coverage: u64 },
    /// What was found, and what was said about it.
    Finding { input: String, log: PathBuf },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean {
                executions,
                coverage,
            } => write!(f, "{executions} executions, {coverage} edges, no findings"),
            Self::Finding { input, log } => {
                write!(f, "FINDING {input}, see {}", log.display())
            }
        }
    }
}

/// Starts from what earlier campaigns learnt, and adds to it.
pub(super) fn run(target: &Target, seconds: u32) -> Result<Outcome> {
    let name = target.name();
    let corpus = repository::target(&format!("fuzz/corpus/{name}"))?;
    let findings = repository::target(&format!("fuzz/findings/{name}"))?;
    let log = repository::target("fuzz")?.join(format!("{name}.log"));
    let mut command = Command::new(target.program()?);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={TIMEOUT_SECONDS}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        .args(["-print_final_stats=1", "-use_value_profile=1"]);
    if let Some(dictionary) = target.dictionary() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    let output = File::create(&log).with_context(|| format!("make {}", log.display()))?;
    let status = command
        .arg(corpus)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output)
        .status()
        .with_context(|| format!("start {name}"))?;
    let said = String::from_utf8_lossy(&fs::read(&log).context("read the log")?).into_owned();
    if status.success() {
        let (executions, coverage) = totals(&said);
        return Ok(Outcome::Clean {
            executions,
            coverage,
        });
    }
    process::step(&format!("{name} ended with {status}"));
    let input = written(&said).unwrap_or("without an input");
    Ok(Outcome::Finding {
        input: input.to_owned(),
        log,
    })
}

/// Executions and edges in libFuzzer's words.
fn totals(said: &str) -> (u64, u64) {
    let executions = said.lines().find_map(|line| {
        let count = line.strip_prefix("stat::number_of_executed_units:")?;
        count.trim().parse().ok()
    });
    let coverage = said.lines().rev().find_map(|line| {
        let count = line.split_once("cov: ")?.1.split(' ').next()?;
        count.parse().ok()
    });
    (executions.unwrap_or(0), coverage.unwrap_or(0))
}

/// The file that the finding's input was written to.
fn written(said: &str) -> Option<&str> {
    said.lines()
        .find_map(|line| line.split_once("Test unit written to "))
        .map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_and_findings_are_read_from_what_was_said() {
        let said = "#9\tDONE   cov: 87 ft: 90 corp: 3/5b\nstat::number_of_executed_units: 9\n";
        assert_eq!(totals(said), (9, 87));
        assert_eq!(written(said), None);
        let said = "x\nartifact_prefix='f/'; Test unit written to f/crash-1\n";
        assert_eq!(written(said), Some("f/crash-1"));
    }
}
