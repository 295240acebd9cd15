//! Finding the test programs that have to run in a node.
//!
//! They are the `[[test]]` targets with `required-features = ["privileged"]`, whose crate's plain
//! `cargo test` leaves them out.

use super::built::Program;
use super::suite::Suite;
use crate::repository;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// A test target by the names that cargo knows it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    package: String,
    name: String,
    /// The package's directory.
    dir: PathBuf,
}

impl Target {
    /// The targets of all crates.
    pub(super) fn all() -> Result<Vec<Self>> {
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

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What cargo builds it with.
    pub(super) fn feature(&self) -> String {
        format!("{}/privileged", self.package)
    }

    /// The suites that it is run as, of those whose names have one of `wanted`.
    pub(super) fn suites(&self, wanted: &[String], filter: Option<&str>) -> Vec<Suite> {
        let mut suites = Suite::split(&self.package, &self.name, filter);
        suites.retain(|suite| suite.is_one_of(wanted));
        suites
    }

    /// Whether this is its program.
    pub(super) fn is(&self, program: &Program) -> bool {
        program.is_test() && program.dir == self.dir && program.name() == self.name
    }

    /// Of all that was built: the target itself, and its package's binaries, which it starts.
    pub(super) fn programs(&self, built: &[Program]) -> Result<Vec<Program>> {
        let of_package = built.iter().filter(|program| program.dir == self.dir);
        let programs: Vec<Program> = of_package
            .filter(|program| self.is(program) || !program.is_test())
            .cloned()
            .collect();
        if !programs.iter().any(|program| self.is(program)) {
            let Self { package, name, .. } = self;
            bail!("cargo built no program for test {name} of {package}");
        }
        Ok(programs)
    }
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
        assert_eq!(programs, [all[0].clone(), all[2].clone()]);
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
