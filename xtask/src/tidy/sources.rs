//! The Rust files of the repository: how each begins, and what none is called.

use super::Finding;
use crate::{process, repository};
use anyhow::{Context, Result};
use std::fs;
use std::process::Command;

/// Names that say nothing about what is in a file.
const EMPTY_NAMES: [&str; 7] = [
    "common.rs",
    "helper.rs",
    "helpers.rs",
    "misc.rs",
    "types.rs",
    "util.rs",
    "utils.rs",
];

/// A file of the repository and its text.
pub(super) struct Source {
    /// Relative to the root.
    pub(super) path: String,
    pub(super) text: String,
}

/// All Rust files that git knows or would take.
pub(super) fn read_all() -> Result<Vec<Source>> {
    let mut git = Command::new("git");
    git.current_dir(repository::root());
    git.args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "*.rs",
    ]);
    let mut sources = Vec::new();
    for path in process::output(&mut git)?.lines() {
        let file = repository::root().join(path);
        // Git still knows a file that was just removed.
        if file.exists() {
            let text = fs::read_to_string(&file).with_context(|| format!("read {path}"))?;
            sources.push(Source {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(sources)
}

/// A first line for the reader, and a name that says something.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !source.text.starts_with("//! ") {
        let what = "starts without `//!`: say in one sentence what this file is";
        findings.push(Finding::new(&source.path, 1, what));
    }
    let name = source.path.rsplit('/').next().unwrap_or_default();
    if EMPTY_NAMES.contains(&name) {
        let what = "has a name that says nothing: name it after what is in it";
        findings.push(Finding::new(&source.path, 1, what));
    }
    if name == "mod.rs" {
        let what = "is a mod.rs: use the directory's name with .rs, beside it";
        findings.push(Finding::new(&source.path, 1, what));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_count(path: &str, text: &str, count: usize) {
        let source = Source {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        assert_eq!(check(&source).len(), count, "{:?}", check(&source));
    }

    #[test]
    fn a_file_says_what_it_is_and_has_a_name() {
        check_count("a/src/queue.rs", "//! Queues.\n", 0);
        check_count("a/src/queue.rs", "use std::fs;\n", 1);
        check_count("a/src/util.rs", "//! Things.\n", 1);
        check_count("a/src/queue/mod.rs", "//! Queues.\n", 1);
    }
}
