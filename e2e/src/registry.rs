//! The store of a registry (Debian's `docker-registry`, file-system driver), filled without pushing.
//!
//! Writing its files takes a second on the machine; pushing the same images through an emulated
//! node's CPU takes a minute.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::image::{Blob, Image};

/// A registry's directory.
#[derive(Clone, Debug)]
pub struct RegistryStore {
    root: PathBuf,
}

impl RegistryStore {
    /// The store whose files are below `root`, which is made if missing.
    pub fn create(root: &Path) -> Result<Self> {
        let root = root.join("docker/registry/v2");
        fs::create_dir_all(&root).with_context(|| format!("make {}", root.display()))?;
        Ok(Self { root })
    }

    /// Adds `image` to `repository` under `tag`.
    pub fn add(&self, repository: &str, tag: &str, image: &Image) -> Result<()> {
        for blob in &image.blobs {
            self.add_blob(blob)?;
            self.link(repository, "_layers", &blob.digest)?;
        }
        let digest = &image.manifest.digest;
        self.add_blob(&image.manifest)?;
        self.link(repository, "_manifests/revisions", digest)?;
        self.link(repository, &format!("_manifests/tags/{tag}/index"), digest)?;
        self.write_link(
            repository,
            &format!("_manifests/tags/{tag}/current"),
            digest,
        )
    }

    fn add_blob(&self, blob: &Blob) -> Result<()> {
        let hex = hex(&blob.digest);
        let file = self
            .root
            .join("blobs/sha256")
            .join(&hex[..2])
            .join(hex)
            .join("data");
        if file.exists() {
            return Ok(());
        }
        write(&file, &blob.bytes)
    }

    fn link(&self, repository: &str, below: &str, digest: &str) -> Result<()> {
        self.write_link(
            repository,
            &format!("{below}/sha256/{}", hex(digest)),
            digest,
        )
    }

    fn write_link(&self, repository: &str, below: &str, digest: &str) -> Result<()> {
        let file = self
            .root
            .join("repositories")
            .join(repository)
            .join(below)
            .join("link");
        write(&file, digest.as_bytes())
    }
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

fn write(file: &Path, content: &[u8]) -> Result<()> {
    let parent = file.parent().context("a file of the store has a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    fs::write(file, content).with_context(|| format!("write {}", file.display()))
}
