//! The conformance of sandboxes made of host namespaces, on a node and as its root.

use std::process::ExitCode;

#[path = "privileged/run.rs"]
mod run;

fn main() -> ExitCode {
    run::main(run::Kind::Namespaced)
}
