//! Running the tests that need neither root nor KVM on this machine.

use super::built::{self, Program};
use super::privileged::Target;
use super::tally::Tally;
use crate::process;
use anyhow::Result;
use std::process::Command;

/// Runs those of `programs` that are none of `in_nodes`, and the examples in the documentation.
pub(super) fn run(programs: &[Program], in_nodes: &[Target], filter: Option<&str>) -> Tally {
    let mut tally = Tally::default();
    let anywhere =
        |program: &&Program| program.is_test() && !in_nodes.iter().any(|target| target.is(program));
    for program in programs.iter().filter(anywhere) {
        let mut test = Command::new(&program.path);
        // Where cargo runs it.
        test.current_dir(&program.dir).args(filter);
        tally.add(run_one(&program.name(), &mut test));
    }
    let mut doc_tests = process::cargo();
    doc_tests
        .args(["test", "--workspace", "--no-fail-fast", "--doc"])
        .args(built::features(in_nodes))
        .args(filter);
    tally.add(run_one("doc tests", &mut doc_tests));
    tally
}

fn run_one(name: &str, command: &mut Command) -> Tally {
    process::step(&format!("{name}: running"));
    let mut tally = Tally::default();
    if let Err(error) = try_one(name, command, &mut tally) {
        tally.must_have_failures(name, &format!("{error:#}"));
    }
    tally
}

fn try_one(name: &str, command: &mut Command, tally: &mut Tally) -> Result<()> {
    let status = process::each_line(command, |line| {
        process::say(&format!("[{name}] {line}"));
        tally.take_line(name, line);
    })?;
    if !status.success() {
        tally.must_have_failures(name, &format!("it ended with {status}"));
    }
    tally.must_have_results(name);
    Ok(())
}
