//! Another checkout, whose binaries are measured beside ours: what a change has cost or gained.

use crate::build::BINARIES;
use crate::node::Product;
use anyhow::{Result, bail};
use std::path::Path;

/// Where the node has its `bin/` and `guest/`.
pub(super) const IN_NODE: &str = "/opt/before";

/// What the other checkout has built.
pub(super) struct Before {
    products: Vec<Product>,
}

impl Before {
    /// The other checkout at `root`, which has to be built.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let binaries = BINARIES
            .iter()
            .map(|binary| (binary.path_in(root), format!("bin/{}", binary.name)));
        let guest = ["vmlinux", "initramfs.cpio"].map(|file| {
            let source = root.join("target/guest/6.12").join(file);
            (source, format!("guest/{file}"))
        });
        let mut products = Vec::new();
        for (source, path) in binaries.chain(guest) {
            if !source.exists() {
                bail!(
                    "{} is missing: run `cargo xtask build` and `cargo xtask guest` in {}",
                    source.display(),
                    root.display()
                );
            }
            products.push(Product::new(source, format!("before/{path}")));
        }
        Ok(Self { products })
    }

    /// What the node gets of it.
    pub(super) fn products(&self) -> Vec<Product> {
        self.products.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_that_is_not_built_is_told_how() {
        let error = Before::open(Path::new("/nowhere")).map(drop).unwrap_err();
        assert!(error.to_string().contains("cargo xtask build"), "{error}");
    }
}
