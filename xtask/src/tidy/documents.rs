//! What people read names only paths and chores that exist.

use super::Finding;
use super::sources::Source;
use crate::{Cli, repository};
use anyhow::{Context, Result};
use clap::CommandFactory;
use std::fs;
use std::path::Path;

/// STYLE.md is not among them: it speaks of files that might be.
const DOCUMENTS: [&str; 3] = ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"];

/// Endings of what is a path even without a folder before it.
const ENDINGS: [&str; 3] = [".rs", ".md", ".proto"];

/// Every path in backticks exists: from the root, in some crate's `src/`, or as the end of a path; so
/// does what links lead to, and every verb of `cargo xtask`.
pub(super) fn check(sources: &[Source]) -> Result<Vec<Finding>> {
    let root = repository::root();
    let exists = |name: &str| {
        let name = name.trim_end_matches('/');
        let end = format!("/{name}");
        root.join(name).exists()
            || sources.iter().any(|source| {
                source.path.ends_with(&end) || source.path.contains(&format!("{end}/"))
            })
    };
    let cli = Cli::command();
    let is_verb = |word: &str| cli.find_subcommand(word).is_some();
    let mut findings = Vec::new();
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document));
        let text = text.with_context(|| format!("read {document}"))?;
        for (index, line) in text.lines().enumerate() {
            let missing = missing_paths(line, exists)
                .chain(missing_links(line, root))
                .chain(unknown_verbs(line, is_verb));
            findings.extend(missing.map(|name| {
                let what = format!("names {name}, which does not exist");
                Finding::new(document, index + 1, what)
            }));
        }
    }
    Ok(findings)
}

fn missing_paths(line: &str, exists: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
    let words = line.split('`').skip(1).step_by(2);
    words
        .filter(|word| is_path(word))
        .flat_map(expand)
        .filter(move |path| !exists(path))
}

fn missing_links(line: &str, root: &Path) -> impl Iterator<Item = String> {
    let targets = line.split("](").skip(1);
    targets
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .filter(|target| !root.join(target).exists())
        .map(str::to_owned)
}

/// `cargo xtask` and a word that is neither an option nor a placeholder.
fn unknown_verbs(line: &str, is_verb: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
    let rests = line.split("cargo xtask ").skip(1);
    rests
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_lowercase()).next())
        .filter(move |verb| !verb.is_empty() && !is_verb(verb))
        .map(|verb| format!("cargo xtask {verb}"))
}

/// Not a path: code, a placeholder, or an absolute path, which is about a node and not about us.
fn is_path(word: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || "<>*…:()\"'$=@;#".contains(c);
    // Without a folder it may be an operator's file.
    let of_ours = word.contains('/') && word.ends_with(".toml");
    !word.starts_with(['/', '.', '-'])
        && !word.contains(odd)
        && !word.starts_with("target/")
        && (ENDINGS.iter().any(|ending| word.ends_with(ending)) || of_ours || word.ends_with('/'))
}

/// `a/{b,c}.rs` is two paths.
fn expand(word: &str) -> Vec<String> {
    match (word.split_once('{'), word.split_once('}')) {
        (Some((before, rest)), Some((_, after))) => {
            let inside = rest.split('}').next().unwrap_or_default();
            inside
                .split(',')
                .map(|part| format!("{before}{part}{after}"))
                .collect()
        }
        _ => vec![word.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_do_not_exist_are_found() {
        let line = "See `a/{b,c}.rs`, `queue.rs`, `Vec<u8>`, `/dev/kvm`, `runtime/<rpc>.rs`.";
        let found = missing_paths(line, |path| path == "a/b.rs" || path == "queue.rs");
        assert_eq!(found.collect::<Vec<_>>(), ["a/c.rs"]);
    }

    #[test]
    fn links_lead_somewhere() {
        let line = "[a](Cargo.toml#x), [b](nowhere.md), [c](https://example.org), [d](#here)";
        let found = missing_links(line, Path::new(env!("CARGO_MANIFEST_DIR")));
        assert_eq!(found.collect::<Vec<_>>(), ["nowhere.md"]);
    }

    #[test]
    fn only_verbs_that_do_not_exist_are_found() {
        let line =
            "`cargo xtask tidy`, `cargo xtask --help`, `cargo xtask fly`, `cargo xtask <verb>`";
        let found = unknown_verbs(line, |verb| verb == "tidy");
        assert_eq!(found.collect::<Vec<_>>(), ["cargo xtask fly"]);
    }
}
