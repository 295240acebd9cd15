//! `cargo xtask test`: unit tests here, everything that needs root or KVM in node VMs.
//!
//! Ends with one line `N passed, N failed` over all suites. A node that dies is no result: it is
//! reported with its console and started again, and its suite runs again.

mod built;
mod place;
mod privileged;
mod stopwatch;
mod suite;
mod tally;
mod unit;

use crate::{build, debian, guest, images, node, tools};
use anyhow::{Result, bail};
use built::{Program, Wanted};
use clap::Args;
use privileged::Target;
use std::process::ExitCode;
use std::thread;
use suite::Suite;
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
    /// Only these suites of those that run in a node, by parts of their names.
    #[arg(long = "suite", value_name = "NAME", conflicts_with = "unit")]
    suites: Vec<String>,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    // k8s-cri, an independent copy of the interface that tests use as client, wants protoc.
    debian::install(&["protobuf-compiler"])?;
    debian::install(&build::NATIVE_PACKAGES)?;
    let targets = options.targets()?;
    let programs = thread::scope(|scope| {
        // It mostly waits for downloads. What goes wrong is told by whoever needs it.
        scope.spawn(|| (!targets.is_empty()).then(prepare_nodes));
        built::build(options.wanted(), &targets)
    })?;
    let tally = thread::scope(|scope| {
        // They mostly wait, too.
        let unit_tests = scope.spawn(|| unit_tests(options, &programs, &targets));
        let mut tally = node_tests(options, &programs, &targets);
        tally.add(unit_tests.join().expect("this thread does not panic"));
        tally
    });
    tally.print();
    Ok(tally.exit_code())
}

/// Makes what nodes have that is none of ours.
fn prepare_nodes() -> Result<()> {
    node::prepare()?;
    // A terminal is tested through crictl.
    tools::crictl()
}

impl Options {
    /// What runs in nodes of what is asked for.
    fn targets(&self) -> Result<Vec<Target>> {
        if self.unit {
            return Ok(Vec::new());
        }
        let mut targets = Target::all()?;
        targets.retain(|target| !self.suites(target).is_empty());
        if targets.is_empty() {
            let names = self.suites.join(" or ");
            bail!("no suite that runs in a node has a name with {names}");
        }
        Ok(targets)
    }

    fn suites(&self, target: &Target) -> Vec<Suite> {
        target.suites(&self.suites, self.filter.as_deref())
    }

    fn wanted(&self) -> Wanted {
        if self.node || !self.suites.is_empty() {
            Wanted::NodeTests
        } else {
            Wanted::UnitTests
        }
    }
}

fn unit_tests(options: &Options, programs: &[Program], in_nodes: &[Target]) -> Tally {
    match options.wanted() {
        Wanted::UnitTests => unit::run(programs, in_nodes, options.filter.as_deref()),
        Wanted::NodeTests => Tally::default(),
    }
}

fn node_tests(options: &Options, programs: &[Program], targets: &[Target]) -> Tally {
    try_node_tests(options, programs, targets).unwrap_or_else(|error| {
        let mut tally = Tally::default();
        tally.fail("tests in nodes", &format!("{error:#}"));
        tally
    })
}

fn try_node_tests(options: &Options, programs: &[Program], targets: &[Target]) -> Result<Tally> {
    let mut suites = Vec::new();
    for target in targets {
        let programs = target.programs(programs)?;
        let of_target = options.suites(target).into_iter();
        suites.extend(of_target.map(|suite| suite.with(&programs)));
    }
    if suites.is_empty() {
        return Ok(Tally::default());
    }
    build::beside_server()?;
    guest::run(&guest::Options::default())?;
    images::run()?;
    prepare_nodes()?;
    Ok(suite::run_in_nodes(&suites))
}
