//! Every key that an operator may set is in the shipped `config.toml`.

use super::Finding;
use super::sources::Source;
use crate::repository;
use anyhow::{Context, Result};
use std::fs;

const SHIPPED: &str = "manifests/config.toml";

/// Every public field of a structure in a `config.rs` that is read with serde has its key there.
pub(super) fn check(sources: &[Source]) -> Result<Vec<Finding>> {
    let shipped = fs::read_to_string(repository::root().join(SHIPPED))
        .with_context(|| format!("read {SHIPPED}"))?;
    let configs = sources
        .iter()
        .filter(|source| source.path.ends_with("/config.rs"));
    Ok(configs
        .flat_map(|source| missing(source, &shipped))
        .collect())
}

fn missing(source: &Source, shipped: &str) -> Vec<Finding> {
    let fields = fields(&source.text);
    fields
        .into_iter()
        .filter(|(_, field)| !has_key(shipped, field))
        .map(|(line, field)| {
            let what = format!("{field} is not in {SHIPPED}: add it with its default");
            Finding::new(&source.path, line, what)
        })
        .collect()
}

/// Fields of structures that derive `Deserialize`, without those that serde skips.
fn fields(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let (mut read_by_serde, mut inside, mut skipped) = (false, false, false);
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("#[derive(") {
            read_by_serde = line.contains("Deserialize");
        } else if line.starts_with("pub struct") || line.starts_with("pub(crate) struct") {
            inside = read_by_serde && line.ends_with('{');
            read_by_serde = false;
        } else if line == "}" {
            inside = false;
        } else if line.trim().starts_with("#[serde(skip") || line.trim() == "#[serde(flatten)]" {
            skipped = true;
        } else if let Some(field) = field(line).filter(|_| inside)
            && !std::mem::take(&mut skipped)
        {
            found.push((index + 1, field.to_owned()));
        }
    }
    found
}

fn field(line: &str) -> Option<&str> {
    let declaration = line.trim().strip_prefix("pub ")?;
    declaration.split_once(": ").map(|(name, _)| name)
}

/// As a key, or as the name of a table.
fn has_key(shipped: &str, key: &str) -> bool {
    shipped.lines().any(|line| {
        let table = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'));
        line.split('=')
            .next()
            .is_some_and(|name| name.trim() == key)
            || table.is_some_and(|table| table.split('.').any(|part| part == key))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_not_shipped_is_found() {
        let text = "//! C.\n#[derive(Clone, Deserialize)]\npub struct Config {\n    /// A.\n    \
                    pub socket: String,\n    pub log: Log,\n    #[serde(skip)]\n    pub all: u8,\n    \
                    pub lost: u8,\n}\n#[derive(Clone)]\npub struct Other {\n    pub free: u8,\n}\n";
        let source = Source {
            path: "a/src/config.rs".to_owned(),
            text: text.to_owned(),
        };
        let found = missing(&source, "socket = \"x\"\n[log]\nformat = \"text\"\n");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 9);
    }
}
