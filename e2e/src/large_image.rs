//! An image as large as usual ones, for measuring pulls: some 80 MiB in thousands of files, four layers.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use crate::debian::Tree;
use crate::image::{Compression, Files, Image, Layer};
use crate::registry::RegistryStore;

/// Its name, as a pod gives it.
pub const NAME: &str = "registry.k8s.io/bulkhead/large:latest";

/// The repository's name in the registry.
pub const REPOSITORY: &str = "bulkhead/large";

/// Debian packages of each layer.
const LAYERS: [(&str, &[&str]); 3] = [
    ("large-perl", &["perl-modules-5.36"]),
    (
        "large-python",
        &[
            "libpython3.11-stdlib",
            "libpython3.11-minimal",
            "python3.11-minimal",
        ],
    ),
    ("large-vim", &["vim-runtime"]),
];

/// Builds it into a registry's store at `store`, with downloads kept in `cache`.
pub fn build(cache: &Path, store: &Path) -> Result<()> {
    let mut layers = Vec::new();
    for (name, packages) in LAYERS {
        let tree = Tree::fetch(&cache.join(name), packages)?;
        layers.push(layer(&tree.path("")).with_context(|| format!("pack {name}"))?);
    }
    let marker = Files::new().file(
        "large",
        0o644,
        "the last layer is a small one, as is usual\n",
    );
    layers.push(Layer::pack(&marker, Compression::Gzip)?);
    let settings = json!({"Cmd": ["python3.11"]});
    let image = Image::new(&layers, settings);
    RegistryStore::create(store)?.add(REPOSITORY, "latest", &image)
}

/// All files below `root`, as they lie there.
fn layer(root: &Path) -> Result<Layer> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.mode(tar::HeaderMode::Deterministic);
    tar.follow_symlinks(false);
    tar.append_dir_all("", root)?;
    Layer::from_tar(&tar.into_inner()?, Compression::Gzip)
}
