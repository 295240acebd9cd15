//! `cargo xtask tools`: crictl and critest, from the Go module `e2e/tools`, into `target/tools/`.

mod go;
pub(crate) mod peers;
mod pinned;

use crate::repository;
use anyhow::Result;
use go::Module;

pub(crate) use pinned::Pinned;

/// Builds what is missing or older than the versions that `go.mod` asks for.
pub(crate) fn run() -> Result<()> {
    crictl()?;
    // critest is a test of its package, and needs what `ginkgo` needs: a compiled one.
    build("critest", &["test", "-c"])
}

/// Only crictl: few chores need both.
pub(crate) fn crictl() -> Result<()> {
    build("crictl", &["build"])
}

fn build(program: &str, verb: &[&str]) -> Result<()> {
    let _lock = repository::lock("tools")?;
    let module = Module::open("e2e/tools", "tools")?;
    let package = format!("sigs.k8s.io/cri-tools/cmd/{program}");
    module.build(program, verb, &package)
}
