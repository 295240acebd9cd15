//! What a crate's `Cargo.toml` says that it depends on.

use crate::repository;
use anyhow::{Context, Result};
use std::fs;

/// A manifest, by its path from the root.
pub(super) struct Manifest {
    path: String,
    text: String,
}

impl Manifest {
    /// The manifest in the folder `member`.
    pub(super) fn read(member: &str) -> Result<Self> {
        let path = format!("{member}/Cargo.toml");
        let text = fs::read_to_string(repository::root().join(&path));
        let text = text.with_context(|| format!("read {path}"))?;
        Ok(Self::new(&path, text))
    }

    pub(super) fn new(path: &str, text: String) -> Self {
        Self {
            path: path.to_owned(),
            text,
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The crate's name; nothing if it is missing.
    pub(super) fn package(&self) -> &str {
        let line = self.text.lines().find(|line| line.starts_with("name = "));
        line.and_then(|line| line.split('"').nth(1))
            .unwrap_or_default()
    }

    /// The crates it is built with, for any target, with their lines. Not what only its tests use.
    pub(super) fn dependencies(&self) -> Vec<(usize, String)> {
        self.entries(|section| matches!(section, "dependencies" | "build-dependencies"))
    }

    /// The entries whose versions the root manifest decides, tests' too.
    pub(super) fn inherited(&self) -> Vec<String> {
        let sections = ["dependencies", "build-dependencies", "dev-dependencies"];
        let entries = self.entries(|section| sections.contains(&section));
        let lines: Vec<&str> = self.text.lines().collect();
        let inherits = |line: usize| lines[line - 1].replace(' ', "").contains("workspace=true");
        entries
            .into_iter()
            .filter(|(line, _)| inherits(*line))
            .map(|(_, name)| name)
            .collect()
    }

    /// What the root manifest decides for crates that aren't ours, with lines.
    pub(super) fn declared(&self) -> Vec<(usize, String)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let mut declared = self.dependencies();
        declared.retain(|(line, _)| !lines[line - 1].contains("path = "));
        declared
    }

    /// The crates in sections whose last word `of` wants, by their own names.
    fn entries(&self, of: impl Fn(&str) -> bool) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let mut inside = false;
        for (index, line) in self.text.lines().enumerate() {
            if let Some(section) = line.trim().strip_prefix('[') {
                let section = section.trim_end_matches(']');
                // `target.'cfg(…)'.dependencies` is such a section, `dependencies.name` an entry.
                let (before, last) = section.rsplit_once('.').unwrap_or(("", section));
                inside = of(last);
                if of(before.rsplit('.').next().unwrap_or_default()) {
                    found.push((index + 1, last.to_owned()));
                }
            } else if inside && line.starts_with(|c: char| c.is_ascii_alphabetic()) {
                found.push((index + 1, entry(line).to_owned()));
            }
        }
        found
    }
}

/// The crate that an entry is about, whatever the entry calls it.
fn entry(line: &str) -> &str {
    if let Some((_, renamed)) = line.split_once("package = \"") {
        return renamed.split('"').next().unwrap_or_default();
    }
    line.split(['.', ' ', '=']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_found_in_each_form() {
        let text = "[package]\nname = \"a\"\n[dependencies]\nb.workspace = true\n# c\n\
                    d = { workspace = true }\nx = { package = \"e\", version = \"1\" }\n\
                    [dependencies.f]\nversion = \"1\"\n\
                    [target.'cfg(unix)'.dependencies]\ng = \"1\"\n[build-dependencies]\nh = \"1\"\n\
                    [dev-dependencies]\ni = \"1\"\n[features]\nj = []\n";
        let manifest = Manifest::new("a/Cargo.toml", text.to_owned());
        assert_eq!(manifest.package(), "a");
        let found = manifest.dependencies();
        let names: Vec<&str> = found.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["b", "d", "e", "f", "g", "h"]);
        assert_eq!(found[0].0, 4);
    }
}
