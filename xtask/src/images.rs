//! The test images, as the store of the node's registry: `target/registry`.

use crate::{process, repository};
use anyhow::{Context, Result};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Makes them again when what makes them has changed.
pub(crate) fn run() -> Result<()> {
    let _lock = repository::lock("images")?;
    let stamp = repository::target("e2e")?.join("images.stamp");
    let recipe = recipe()?;
    if fs::read_to_string(&stamp).is_ok_and(|made| made == recipe) {
        return Ok(());
    }
    process::step("making the test images");
    let store = repository::target("registry")?;
    fs::remove_dir_all(&store).context("remove the old images")?;
    let mut cargo = process::cargo();
    cargo.args(["run", "--package", "e2e", "--bin", "e2e-images", "--"]);
    cargo.arg(repository::target("e2e/packages")?).arg(&store);
    process::run(&mut cargo)?;
    fs::write(&stamp, recipe).context("write the stamp")
}

fn recipe() -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for file in [
        "debian.rs",
        "image.rs",
        "images.rs",
        "images/services.rs",
        "registry.rs",
    ] {
        let path = repository::root().join("e2e/src").join(file);
        fs::read(&path)
            .with_context(|| format!("read {}", path.display()))?
            .hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}
