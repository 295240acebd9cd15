//! What a node gets for measuring: the client, and an image that is worth pulling.

use crate::node::Product;
use crate::{debian, process, repository};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The client's path in the node.
pub(super) const IN_NODE: &str = "/opt/bench/e2e-bench";

/// Where a registry's store keeps things.
const BLOBS: &str = "docker/registry/v2/blobs/sha256";
const REPOSITORY: &str = "docker/registry/v2/repositories/bulkhead/large";

/// Builds the client with what the tests are built with, so that nothing is compiled twice. What it
/// takes itself is in the table, in the row of the cheapest call.
pub(super) fn build() -> Result<Product> {
    // k8s-cri, an independent copy of the interface, wants protoc.
    debian::install(&["protobuf-compiler"])?;
    process::step("cargo: building e2e-bench");
    let mut cargo = process::cargo();
    cargo.args(["build", "--package", "e2e"]);
    process::run(cargo.args(["--features", "bench", "--bin", "e2e-bench"]))?;
    let path = repository::root().join("target/debug/e2e-bench");
    Ok(Product::new(path, "bench/e2e-bench".to_owned()))
}

/// Makes the large image unless it is there. Its files go among those of the node's registry; other
/// nodes don't have it, because it would cost each of them time at the start.
pub(super) fn large_image() -> Result<Vec<Product>> {
    let _lock = repository::lock("large-image")?;
    let store = repository::target("bench/registry")?;
    if !store.join(REPOSITORY).exists() {
        process::step("making the large image");
        let mut cargo = process::cargo();
        cargo.args(["run", "--package", "e2e", "--bin", "e2e-large-image", "--"]);
        cargo.arg(repository::target("e2e/packages")?).arg(&store);
        process::run(&mut cargo)?;
    }
    let mut paths = vec![PathBuf::from(REPOSITORY)];
    for prefix in names(&store.join(BLOBS))? {
        let prefix = Path::new(BLOBS).join(prefix);
        let blobs = names(&store.join(&prefix))?;
        paths.extend(blobs.iter().map(|blob| prefix.join(blob)));
    }
    let product = |path: PathBuf| {
        let in_node = format!("registry/{}", path.display());
        Product::new(store.join(path), in_node)
    };
    Ok(paths.into_iter().map(product).collect())
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    let name = |entry: std::io::Result<fs::DirEntry>| -> Result<String> {
        Ok(entry?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}
