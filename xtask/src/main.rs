//! Every chore of the repository: `cargo xtask <verb>`.

mod debian;
mod kernel_package;
mod node;
mod process;
mod repository;

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
    /// A whole Debian node under QEMU, where all privileged work happens.
    #[command(subcommand)]
    Node(node::Verb),
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
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
