//! `cargo xtask tidy`: facts about the sources that rot, with file, line and the fix.
//!
//! It does not judge taste.

mod config_keys;
mod documents;
mod edges;
mod manifest;
mod readme;
mod rpcs;
mod sources;
mod unsafety;
mod workspace;

use crate::process;
use anyhow::{Result, bail};
use std::fmt;

/// Something that is not as it has to be.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    file: String,
    line: usize,
    what: String,
}

impl Finding {
    fn new(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

pub(crate) fn run() -> Result<()> {
    let all = sources::read_all()?;
    let mut findings = Vec::new();
    for source in &all {
        findings.extend(sources::check(source));
        findings.extend(unsafety::check(source));
    }
    findings.extend(documents::check(&all)?);
    findings.extend(config_keys::check(&all)?);
    findings.extend(edges::check()?);
    findings.extend(readme::check()?);
    findings.extend(rpcs::check(&all)?);
    findings.extend(workspace::check()?);
    for finding in &findings {
        process::say(&finding.to_string());
    }
    match findings.len() {
        0 => Ok(()),
        count => bail!("tidy: {count} to fix"),
    }
}
