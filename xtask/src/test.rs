//! `cargo xtask test`: unit tests here, everything that needs root or KVM in node VMs.
//!
//! Ends with one line `N passed, N failed` over all suites. A node that dies is no result: it is
//! reported with its console and started again, and its suite runs again.

mod privileged;
mod suite;
mod tally;

use crate::{build, debian, guest, images, process, tools};
use anyhow::Result;
use clap::Args;
use std::process::ExitCode;
use tally::Tally;

/// What to test.
#[derive(Args)]
pub(crate) struct Options {
    /// Only the unit tests of the workspace, which need neither root nor a node.
    #[arg(long)]
    unit: bool,
    /// Only the tests that run in a node.
    #[arg(long, conflicts_with = "unit")]
    node: bool,
    /// Only these suites of those that run in a node, by parts of their names, also ones set aside.
    #[arg(long = "suite", value_name = "NAME", conflicts_with = "unit")]
    suites: Vec<String>,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    // k8s-cri, an independent copy of the interface that tests use as client, wants protoc.
    debian::install(&["protobuf-compiler"])?;
    debian::install(&build::NATIVE_PACKAGES)?;
    let mut tally = Tally::default();
    if !options.node && options.suites.is_empty() {
        unit_tests(options.filter.as_deref(), &mut tally)?;
    }
    if !options.unit {
        match node_tests(options) {
            Ok(results) => tally.add(results),
            Err(error) => tally.fail("tests in nodes", &format!("{error:#}")),
        }
    }
    tally.print();
    Ok(tally.exit_code())
}

fn node_tests(options: &Options) -> Result<Tally> {
    let mut tally = Tally::default();
    let suites = privileged::build(&options.suites, options.filter.as_deref())?;
    build::beside_server()?;
    guest::run(&guest::Options::default())?;
    images::run()?;
    // A terminal is tested through crictl.
    tools::run()?;
    tally.add(suite::run_in_nodes(&suites));
    Ok(tally)
}

fn unit_tests(filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    process::step("unit tests");
    let mut cargo = process::cargo();
    cargo
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(filter);
    let mut results = Tally::default();
    let status = process::each_line(&mut cargo, |line| {
        process::say(line);
        results.take_line("unit tests", line);
    })?;
    if !status.success() {
        results.must_have_failures("unit tests", &format!("cargo test ended with {status}"));
    }
    tally.add(results);
    Ok(())
}
