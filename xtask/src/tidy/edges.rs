//! Which crate of ours may depend on which.

use super::Finding;
use crate::repository;
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::fs;

/// The arrows of ARCHITECTURE.md. A crate that is not named here may depend on none of ours. What
/// only tests use is not an arrow.
const ALLOWED: [(&str, &[&str]); 6] = [
    (
        "cri-server",
        &[
            "cni",
            "cri-api",
            "cri-streaming",
            "image-service",
            "oci-seccomp",
            "sandbox",
        ],
    ),
    ("sandbox", &["agent-api", "vmm-api"]),
    ("image-service", &["erofs-image"]),
    ("vmm", &["cri-log", "vmm-api", "vmm-devices"]),
    ("agent", &["agent-api", "cri-log"]),
    ("cri-streaming", &["cri-api"]),
];

/// Each dependency of a member on another member is an arrow that may exist.
pub(super) fn check() -> Result<Vec<Finding>> {
    let mut manifests = Vec::new();
    for member in repository::members()? {
        let path = format!("{member}/Cargo.toml");
        let file = repository::root().join(&path);
        manifests.push((
            path.clone(),
            fs::read_to_string(file).with_context(|| format!("read {path}"))?,
        ));
    }
    Ok(forbidden(&manifests))
}

fn forbidden(manifests: &[(String, String)]) -> Vec<Finding> {
    let ours: Vec<String> = manifests
        .iter()
        .filter_map(|(_, text)| package_name(text))
        .collect();
    let allowed: HashMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    let mut findings = Vec::new();
    for (path, text) in manifests {
        let package = package_name(text).unwrap_or_default();
        let may = allowed.get(package.as_str()).copied().unwrap_or_default();
        for (line, name) in dependencies(text) {
            if ours.contains(&name) && !may.contains(&name.as_str()) {
                let what = format!("{package} must not depend on {name}: see ARCHITECTURE.md");
                findings.push(Finding::new(path, line, what));
            }
        }
    }
    findings
}

fn package_name(manifest: &str) -> Option<String> {
    let line = manifest.lines().find(|line| line.starts_with("name = "))?;
    line.split('"').nth(1).map(str::to_owned)
}

/// Names below `[dependencies]` and `[build-dependencies]`, with their lines.
fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            inside = matches!(line.trim(), "[dependencies]" | "[build-dependencies]");
        } else if inside && line.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            found.push((index + 1, name.to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_edge(section: &str, from: &str, to: &str, findings: usize) {
        let manifest = |name: &str, rest: &str| {
            (
                format!("{name}/Cargo.toml"),
                format!("[package]\nname = \"{name}\"\n{rest}"),
            )
        };
        let dependency = format!("[{section}]\n{to}.workspace = true\n");
        let manifests = [manifest(from, &dependency), manifest(to, "")];
        assert_eq!(forbidden(&manifests).len(), findings);
    }

    #[test]
    fn only_arrows_that_are_drawn_exist() {
        check_edge("dependencies", "vmm", "vmm-devices", 0);
        check_edge("dependencies", "sandbox", "vmm", 1);
        check_edge("dependencies", "vmm-devices", "vmm", 1);
        check_edge("dev-dependencies", "e2e", "cri-api", 0);
    }
}
