//! The conformance of sandboxes made of virtual machines, on a node and as its root.

use std::process::ExitCode;

#[path = "privileged/run.rs"]
mod run;

fn main() -> ExitCode {
    run::main(run::Kind::Vm)
}
