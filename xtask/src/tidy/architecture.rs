//! ARCHITECTURE.md names only paths that exist.

use super::Finding;
use super::sources::Source;
use crate::repository;
use anyhow::{Context, Result};
use std::fs;

const FILE: &str = "ARCHITECTURE.md";

/// Endings of what is a path even without a folder before it.
const ENDINGS: [&str; 4] = [".rs", ".toml", ".md", ".proto"];

/// Every path in backticks exists: from the root, in some crate's `src/`, or as the end of a path.
pub(super) fn check(sources: &[Source]) -> Result<Vec<Finding>> {
    let path = repository::root().join(FILE);
    let text = fs::read_to_string(&path).with_context(|| format!("read {FILE}"))?;
    let exists = |name: &str| {
        let name = name.trim_end_matches('/');
        let end = format!("/{name}");
        repository::root().join(name).exists()
            || sources.iter().any(|source| {
                source.path.ends_with(&end) || source.path.contains(&format!("{end}/"))
            })
    };
    Ok(missing(&text, exists))
}

fn missing(text: &str, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for word in line
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|word| is_path(word))
        {
            for path in expand(word).iter().filter(|path| !exists(path)) {
                let what = format!("names {path}, which does not exist");
                findings.push(Finding::new(FILE, index + 1, what));
            }
        }
    }
    findings
}

/// Not a path: code, a placeholder, or an absolute path, which is about a node and not about us.
fn is_path(word: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || "<>*…:()\"'$=@;#".contains(c);
    !word.starts_with(['/', '.', '-'])
        && !word.contains(odd)
        && !word.starts_with("target/")
        && (ENDINGS.iter().any(|ending| word.ends_with(ending)) || word.ends_with('/'))
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
        let text = "See `a/{b,c}.rs`, `queue.rs`, `Vec<u8>`, `/dev/kvm`, `runtime/<rpc>.rs`.\n";
        let found = missing(text, |path| path == "a/b.rs" || path == "queue.rs");
        assert_eq!(
            found,
            [Finding::new(FILE, 1, "names a/c.rs, which does not exist")]
        );
    }
}
