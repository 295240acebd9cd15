//! Every crate of others that the root manifest declares is used by some member.

use super::Finding;
use super::manifest::Manifest;
use crate::repository;
use anyhow::{Context, Result};
use std::collections::HashSet;
use std::fs;

const FILE: &str = "Cargo.toml";

pub(super) fn check() -> Result<Vec<Finding>> {
    let root = fs::read_to_string(repository::root().join(FILE));
    let root = Manifest::new(FILE, root.with_context(|| format!("read {FILE}"))?);
    let mut used = HashSet::new();
    for member in repository::members()? {
        used.extend(Manifest::read(&member)?.inherited());
    }
    Ok(unused(&root, &used))
}

fn unused(root: &Manifest, used: &HashSet<String>) -> Vec<Finding> {
    let declared = root.declared().into_iter();
    declared
        .filter(|(_, name)| !used.contains(name))
        .map(|(line, name)| Finding::new(FILE, line, format!("no member uses {name}: remove it")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_member_uses_is_found() {
        let root = "[workspace.dependencies]\na = \"1\"\nb = \"1\"\nc = \"1\"\n\
                    ours = { path = \"x\" }\n";
        let member = "[dependencies]\na.workspace = true\n[dev-dependencies]\n\
                      c = { workspace = true }\nb = \"1\"\n";
        let root = Manifest::new(FILE, root.to_owned());
        let member = Manifest::new("m/Cargo.toml", member.to_owned());
        let found = unused(&root, &member.inherited().into_iter().collect());
        assert_eq!(
            found,
            [Finding::new(FILE, 3, "no member uses b: remove it")]
        );
    }
}
