//! Every chore of the repository: `cargo xtask <verb>`.

mod bench;
mod build;
mod check;
mod critest;
mod debian;
mod demo;
mod fuzz;
mod guest;
mod images;
mod kernel_package;
mod node;
mod process;
mod repository;
mod table;
mod test;
mod tidy;
mod tools;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Every chore of the repository. Each verb does its own set-up.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Formatting, tidy, clippy, documentation and dependencies.
    Check,
    /// Facts about the sources that rot.
    Tidy,
    /// Builds the binaries that go into a node: bulkhead, bulkhead-vmm, bulkhead-fsd, bulkhead-agent.
    Build,
    /// Makes kernel and initramfs of the microVMs, in target/guest/<6.12 or 6.1>/.
    Guest(guest::Options),
    /// Makes the images that tests pull, for the registry in the node: target/registry/.
    Images,
    /// Unit tests here, and everything that needs root or KVM in node VMs.
    ///
    /// Ends with one line `N passed, N failed`. Exit code 70: no failure, but nodes died.
    Test(test::Options),
    /// The main job: one image in two pods, one of them a machine of its own.
    Demo,
    /// CRI's conformance suite against the runtime in a node; results by group.
    Critest(critest::Options),
    /// Hostile input against everything that reads it: executions and findings by target.
    Fuzz(fuzz::Options),
    /// Speed and size in a node, ours against containerd's, as ratios.
    ///
    /// Prints a table per part; target/bench/ gets the figures as JSON, one a line.
    Bench(bench::Options),
    /// Builds crictl and critest into target/tools/.
    Tools,
    /// A whole Debian node under QEMU, where all privileged work happens.
    #[command(subcommand)]
    Node(node::Verb),
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Build => build::run().map(|()| ExitCode::SUCCESS),
        Verb::Guest(options) => guest::run(&options).map(|()| ExitCode::SUCCESS),
        Verb::Images => images::run().map(|()| ExitCode::SUCCESS),
        Verb::Test(options) => test::run(&options),
        Verb::Demo => demo::run(),
        Verb::Critest(options) => critest::run(&options),
        Verb::Fuzz(options) => fuzz::run(&options),
        Verb::Bench(options) => bench::run(&options).map(|()| ExitCode::SUCCESS),
        Verb::Check => check::run().map(|()| ExitCode::SUCCESS),
        Verb::Tidy => tidy::run().map(|()| ExitCode::SUCCESS),
        Verb::Tools => tools::run().map(|()| ExitCode::SUCCESS),
        Verb::Node(verb) => node::run(verb),
    };
    report(result)
}

fn report(result: Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if error.is::<node::Died>() => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(node::Died::EXIT_CODE)
        }
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
