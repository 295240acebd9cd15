//! Those we measure ourselves against: containerd and runc, from the Go module `e2e/tools/peers`, into
//! `target/tools/peers/`.

use super::go::Module;
use crate::node::Product;
use crate::{debian, repository};
use anyhow::Result;

/// Where the node has them.
const IN_NODE: &str = "peers/bin";

/// containerd's drivers for file systems that need libraries which a node has no use for.
const WITHOUT_DRIVERS: &str = "-tags=no_btrfs,no_zfs";

/// Builds what is missing, and says what a node gets.
pub(crate) fn build() -> Result<Vec<Product>> {
    let _lock = repository::lock("peers")?;
    let module = Module::open("e2e/tools/peers", "tools/peers")?;
    let containerd = "github.com/containerd/containerd/v2/cmd";
    for (program, tags) in [
        ("containerd", &[WITHOUT_DRIVERS][..]),
        ("containerd-shim-runc-v2", &[]),
    ] {
        let package = format!("{containerd}/{program}");
        module.build(program, &[&["build"], tags].concat(), &package)?;
    }
    // runc's part that enters namespaces is in C, and so is libseccomp, which the node has.
    debian::install(&["gcc", "libseccomp-dev", "pkg-config"])?;
    let verb = ["build", "-tags=seccomp"];
    module.build_with_c("runc", &verb, "github.com/opencontainers/runc")?;
    let programs = ["containerd", "containerd-shim-runc-v2", "runc"].into_iter();
    let product = |name: &str| Product::new(module.product(name), format!("{IN_NODE}/{name}"));
    Ok(programs.map(product).collect())
}
