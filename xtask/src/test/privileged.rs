//! Finding and building the test programs that have to run in a node.
//!
//! They are the `[[test]]` targets with `required-features = ["privileged"]`, whose crate's plain
//! `cargo test` leaves them out.

use super::suite::Suite;
use crate::{build, debian, process, repository};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// A test target by the names that cargo knows it by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    package: String,
    name: String,
    /// The package's directory.
    dir: PathBuf,
}

/// A program that cargo built, and the directory of its package.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    path: PathBuf,
    dir: PathBuf,
}

/// Builds the server under test and those that `wanted` names, all where it is empty, and says what
/// to run.
pub(super) fn build(wanted: &[String], filter: Option<&str>) -> Result<Vec<Suite>> {
    let targets = find()?;
    let suites: Vec<(&Target, Suite)> = targets
        .iter()
        .flat_map(|target| {
            let suites = Suite::split(&target.package, &target.name, filter);
            suites.into_iter().map(move |suite| (target, suite))
        })
        .filter(|(_, suite)| suite.is_one_of(wanted))
        .collect();
    if suites.is_empty() {
        bail!(
            "no suite that runs in a node has a name with {}",
            wanted.join(" or ")
        );
    }
    let mut to_build: Vec<&Target> = suites.iter().map(|(target, _)| *target).collect();
    to_build.dedup();
    let programs = build_all(&to_build)?;
    suites
        .into_iter()
        .map(|(target, suite)| Ok(suite.with(&target.programs(&programs)?)))
        .collect()
}

/// In one run for the whole workspace: all of them then share what `cargo test --workspace` has
/// built, while a package by itself has other features of its dependencies.
fn build_all(targets: &[&Target]) -> Result<Vec<Program>> {
    process::step("cargo: building the tests that run in nodes, and the server");
    debian::install(&build::NATIVE_PACKAGES)?;
    let mut cargo = process::cargo();
    cargo.args(["build", "--workspace", "--bin", build::TESTED_SERVER.name]);
    for target in targets {
        cargo.args(["--test", &target.name]);
        cargo.args(["--features", &format!("{}/privileged", target.package)]);
    }
    cargo.arg("--message-format=json-render-diagnostics");
    let messages = process::output(&mut cargo)?;
    Ok(messages.lines().filter_map(program).collect())
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

impl Target {
    /// Of all that was built: the target itself, and its package's binaries, which it starts.
    fn programs(&self, built: &[Program]) -> Result<Vec<PathBuf>> {
        let of_package = built.iter().filter(|program| program.dir == self.dir);
        let programs: Vec<PathBuf> = of_package
            .map(|program| program.path.clone())
            .filter(|path| self.is(path) || !is_test(path))
            .collect();
        if !programs.iter().any(|path| self.is(path)) {
            let Self { package, name, .. } = self;
            bail!("cargo built no program for test {name} of {package}");
        }
        Ok(programs)
    }

    /// Whether this is its program: cargo calls it by its name and a hash.
    fn is(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.rsplit_once('-').map(|(stem, _)| stem);
        is_test(path) && stem == Some(&self.name)
    }
}

/// Cargo puts tests into `deps/`, and binaries beside that.
pub(super) fn is_test(path: &Path) -> bool {
    path.parent().is_some_and(|dir| dir.ends_with("deps"))
}

fn find() -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for member in repository::members()? {
        let dir = repository::root().join(&member);
        let manifest = dir.join("Cargo.toml");
        let text = fs::read_to_string(&manifest)
            .with_context(|| format!("read {}", manifest.display()))?;
        targets.extend(targets_in(&text, &dir));
    }
    Ok(targets)
}

fn targets_in(manifest: &str, dir: &Path) -> Vec<Target> {
    let value = |section: &str, key: &str| -> Option<String> {
        let line = section
            .lines()
            .find(|line| line.split('=').next().map(str::trim) == Some(key))?;
        line.split('"').nth(1).map(str::to_owned)
    };
    let Some(package) = value(manifest, "name") else {
        return Vec::new();
    };
    manifest
        .split("\n[")
        .filter(|section| section.starts_with("[test]]"))
        .filter(|section| value(section, "required-features").as_deref() == Some("privileged"))
        .filter_map(|section| value(section, "name"))
        .map(|name| Target {
            package: package.clone(),
            name,
            dir: dir.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_targets_with_the_feature_are_found() {
        let manifest = "[package]\nname = \"p\"\n\n[[test]]\nname = \"plain\"\n\n\
                        [[test]]\nname = \"rooted\"\nrequired-features = [\"privileged\"]\n";
        let target = target("rooted");
        assert_eq!(targets_in(manifest, Path::new("/w/p")), [target]);
    }

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
    fn a_target_gets_its_own_test_and_its_packages_binaries() {
        let built = |path: &str, dir: &str| Program {
            path: path.into(),
            dir: dir.into(),
        };
        let all = [
            built("/t/deps/rooted-1", "/w/p"),
            built("/t/deps/other-1", "/w/p"),
            built("/t/tool", "/w/p"),
            built("/t/deps/rooted-2", "/w/q"),
        ];
        let programs = target("rooted").programs(&all).unwrap();
        assert_eq!(
            programs,
            [Path::new("/t/deps/rooted-1"), Path::new("/t/tool")]
        );
        assert!(target("missing").programs(&all).is_err());
    }

    fn target(name: &str) -> Target {
        Target {
            package: "p".to_owned(),
            name: name.to_owned(),
            dir: "/w/p".into(),
        }
    }
}
