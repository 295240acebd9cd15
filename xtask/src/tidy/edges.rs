//! Which crate of ours may depend on which: the arrows that ARCHITECTURE.md draws.

use super::Finding;
use super::manifest::Manifest;
use crate::repository;
use anyhow::{Context, Result};
use std::collections::{HashMap, HashSet};
use std::fs;

const DRAWING: &str = "ARCHITECTURE.md";

/// Crates of plain threads, or of none.
const WITHOUT_TOKIO: [&str; 7] = [
    "cri-log",
    "erofs-image",
    "oci-seccomp",
    "vmm",
    "vmm-api",
    "vmm-devices",
    "xtask",
];

/// Each dependency of a member on another member is an arrow that is drawn. What only tests use is not
/// an arrow. A crate from which no arrow leaves may depend on none of ours.
pub(super) fn check() -> Result<Vec<Finding>> {
    let drawing = fs::read_to_string(repository::root().join(DRAWING));
    let arrows = arrows(&drawing.with_context(|| format!("read {DRAWING}"))?)
        .with_context(|| format!("find the paragraph `Arrows:` in {DRAWING}"))?;
    let members = repository::members()?;
    let manifests: Vec<Manifest> = members
        .iter()
        .map(|member| Manifest::read(member))
        .collect::<Result<_>>()?;
    Ok(forbidden(&manifests, &arrows))
}

/// Who may depend on whom.
type Arrows = HashMap<String, HashSet<String>>;

/// The paragraph `Arrows: a → {b, c}; d → e.`, up to its first full stop.
fn arrows(drawing: &str) -> Option<Arrows> {
    let start = drawing.split_once("\nArrows: ")?.1;
    let paragraph = start.split('.').next()?;
    let mut arrows = Arrows::new();
    for arrow in paragraph.split(';') {
        let (from, to) = arrow.split_once('→')?;
        let to = to.trim().trim_matches(['{', '}']).split(',');
        let to = to.map(|name| name.trim().to_owned()).collect();
        arrows.insert(from.trim().to_owned(), to);
    }
    Some(arrows)
}

fn forbidden(manifests: &[Manifest], arrows: &Arrows) -> Vec<Finding> {
    let ours: HashSet<&str> = manifests.iter().map(Manifest::package).collect();
    let mut findings = Vec::new();
    for manifest in manifests {
        let package = manifest.package();
        let may = |name: &str| arrows.get(package).is_some_and(|to| to.contains(name));
        for (line, name) in manifest.dependencies() {
            let what = if ours.contains(name.as_str()) && !may(&name) {
                format!("{package} → {name} is no arrow of {DRAWING}")
            } else if name == "tokio" && WITHOUT_TOKIO.contains(&package) {
                format!("{package} does without tokio")
            } else {
                continue;
            };
            findings.push(Finding::new(manifest.path(), line, what));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWN: &str =
        "# A\n\nArrows: sandbox → {agent-api, vmm-api};\nvmm → vmm-devices. Nothing.\n";

    #[track_caller]
    fn check_edge(section: &str, from: &str, to: &str, findings: usize) {
        let manifest = |name: &str, rest: &str| {
            Manifest::new(
                &format!("{name}/Cargo.toml"),
                format!("[package]\nname = \"{name}\"\n{rest}"),
            )
        };
        let dependency = format!("[{section}]\n{to}.workspace = true\n");
        let manifests = [manifest(from, &dependency), manifest(to, "")];
        let arrows = arrows(DRAWN).unwrap();
        assert_eq!(forbidden(&manifests, &arrows).len(), findings);
    }

    #[test]
    fn only_arrows_that_are_drawn_exist() {
        check_edge("dependencies", "vmm", "vmm-devices", 0);
        check_edge("dependencies", "sandbox", "vmm-api", 0);
        check_edge("dependencies", "sandbox", "vmm", 1);
        check_edge("build-dependencies", "sandbox", "vmm", 1);
        check_edge("dependencies", "vmm-devices", "vmm", 1);
        check_edge("dev-dependencies", "e2e", "cri-api", 0);
    }

    #[test]
    fn the_vmm_does_without_tokio() {
        check_edge("dependencies", "vmm", "tokio", 1);
        check_edge("dev-dependencies", "vmm", "tokio", 0);
    }
}
