//! Finding and building the test programs that have to run in a node.
//!
//! They are the `[[test]]` targets with `required-features = ["privileged"]`, whose crate's plain
//! `cargo test` leaves them out.

use super::suite::Suite;
use crate::{process, repository};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;

/// A test target by the names that cargo knows it by.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    package: String,
    name: String,
}

/// Builds those that `wanted` names, all where it is empty, and says what to run.
pub(super) fn build(wanted: &[String], filter: Option<&str>) -> Result<Vec<Suite>> {
    let mut suites = Vec::new();
    for target in find()? {
        let of_target = Suite::split(&target.package, &target.name, filter);
        let of_target: Vec<Suite> = of_target
            .into_iter()
            .filter(|suite| suite.is_one_of(wanted))
            .collect();
        if of_target.is_empty() {
            continue;
        }
        process::step(&format!(
            "cargo: building {}'s tests {}",
            target.package, target.name
        ));
        let programs = build_one(&target)?;
        suites.extend(of_target.into_iter().map(|suite| suite.with(&programs)));
    }
    if suites.is_empty() {
        bail!(
            "no suite that runs in a node has a name with {}",
            wanted.join(" or ")
        );
    }
    Ok(suites)
}

/// The target's program, and the crate's own binaries that it starts.
fn build_one(target: &Target) -> Result<Vec<PathBuf>> {
    let Target { package, name } = target;
    let mut cargo = process::cargo();
    cargo.args([
        "test",
        "--package",
        package,
        "--features",
        "privileged",
        "--test",
        name,
    ]);
    cargo.args(["--no-run", "--message-format=json-render-diagnostics"]);
    let programs: Vec<PathBuf> = process::output(&mut cargo)?
        .lines()
        .filter_map(executable)
        .map(PathBuf::from)
        .collect();
    if programs.is_empty() {
        bail!("cargo built no program for test {name} of {package}");
    }
    Ok(programs)
}

/// The path in a line of cargo's JSON. It needs no parser: cargo's own paths have no escapes in them.
fn executable(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("\"executable\":\"")?;
    rest.split_once('"').map(|(path, _)| path)
}

fn find() -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for member in repository::members()? {
        let manifest = repository::root().join(&member).join("Cargo.toml");
        let text = fs::read_to_string(&manifest)
            .with_context(|| format!("read {}", manifest.display()))?;
        targets.extend(targets_in(&text));
    }
    Ok(targets)
}

fn targets_in(manifest: &str) -> Vec<Target> {
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
        let target = Target {
            package: "p".to_owned(),
            name: "rooted".to_owned(),
        };
        assert_eq!(targets_in(manifest), [target]);
    }

    #[test]
    fn cargo_says_where_a_program_is() {
        let line =
            r#"{"reason":"compiler-artifact","executable":"/t/debug/deps/x-1","fresh":true}"#;
        assert_eq!(executable(line), Some("/t/debug/deps/x-1"));
        assert_eq!(executable(r#"{"executable":null}"#), None);
    }
}
