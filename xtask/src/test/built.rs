//! Building what is tested, in one run of cargo.
//!
//! Everything then has one set of features, and no crate is compiled twice.

use super::privileged::Target;
use crate::{build, debian, process};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Which tests are to be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Those of the workspace that run anywhere, and beside them those that run in nodes.
    UnitTests,
    /// Those that run in nodes only.
    NodeTests,
}

/// A program that cargo built, and the directory of its package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) dir: PathBuf,
}

/// Builds what is `wanted`, `targets` with their feature, and the server under test.
pub(super) fn build(wanted: Wanted, targets: &[Target]) -> Result<Vec<Program>> {
    process::step("cargo: building the tests, and the server");
    debian::install(&build::NATIVE_PACKAGES)?;
    let mut cargo = process::cargo();
    match wanted {
        Wanted::UnitTests => {
            // The server is among the binaries that tests of its own crate start.
            cargo.args(["test", "--workspace", "--no-run"]);
        }
        Wanted::NodeTests => {
            cargo.args(["build", "--workspace", "--bin", build::TESTED_SERVER.name]);
            for target in targets {
                cargo.args(["--test", target.name()]);
            }
        }
    }
    cargo
        .args(features(targets))
        .arg("--message-format=json-render-diagnostics");
    let messages = process::output(&mut cargo)?;
    Ok(messages.lines().filter_map(program).collect())
}

/// What tells cargo that `targets` are wanted, too.
pub(super) fn features(targets: &[Target]) -> Vec<String> {
    let features = targets.iter().map(Target::feature);
    features
        .flat_map(|feature| ["--features".to_owned(), feature])
        .collect()
}

/// The program in a line of cargo's JSON. It needs no parser: cargo's own paths have no escapes in them.
fn program(line: &str) -> Option<Program> {
    let value = |key: &str| {
        let (_, rest) = line.split_once(&format!("\"{key}\":\""))?;
        rest.split_once('"').map(|(value, _)| Path::new(value))
    };
    Some(Program {
        path: value("executable")?.to_owned(),
        dir: value("manifest_path")?.parent()?.to_owned(),
    })
}

impl Program {
    /// Cargo puts tests into `deps/`, and binaries beside that.
    pub(super) fn is_test(&self) -> bool {
        let parent = self.path.parent();
        parent.is_some_and(|dir| dir.ends_with("deps"))
    }

    /// What cargo calls it; the file of a test has a hash beside.
    pub(super) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        match name.rsplit_once('-') {
            Some((stem, _)) if self.is_test() => stem.to_owned(),
            _ => name.into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_a_program_is_and_whose() {
        let line = r#"{"reason":"compiler-artifact","manifest_path":"/w/p/Cargo.toml","executable":"/t/debug/deps/x-1","fresh":true}"#;
        let found = program(line).map(|program| (program.path, program.dir));
        assert_eq!(found, Some(("/t/debug/deps/x-1".into(), "/w/p".into())));
        assert_eq!(
            program(r#"{"manifest_path":"/w/p","executable":null}"#),
            None
        );
    }

    #[test]
    fn a_test_has_a_hash_behind_its_name_and_a_binary_has_none() {
        let name = |path: &str| {
            let (path, dir) = (path.into(), "/w/p".into());
            Program { path, dir }.name()
        };
        assert_eq!(name("/t/debug/deps/fake_plugins-0e91f7"), "fake_plugins");
        assert_eq!(name("/t/debug/bulkhead-vmm"), "bulkhead-vmm");
    }
}
