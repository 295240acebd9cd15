//! A node's image store in a temporary directory.

use std::fs;
use std::path::PathBuf;

use image_service::{Config, Images};
use tempfile::TempDir;

use crate::image::TestImage;
use crate::registry::MiniRegistry;

/// Where a test's images are. Gone with the value.
pub(crate) struct Node {
    _dir: TempDir,
    pub(crate) config: Config,
}

impl Node {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let config = Config {
            root_dir: dir.path().join("images"),
            run_dir: dir.path().join("run"),
            hosts_dirs: vec![dir.path().join("certs.d")],
            layers_per_pull: 3,
            layers_at_once: 6,
            stall_timeout_seconds: 20,
            stall_min_bytes: 1,
            retries: 0,
            min_free_mib: 1,
            max_layer_mib: 64,
            keep_unfinished_seconds: 3600,
            pinned: Vec::new(),
        };
        Self { _dir: dir, config }
    }

    pub(crate) async fn open(&self) -> Images {
        Images::open(self.config.clone()).await.unwrap()
    }

    /// Writes `certs.d/<registry>/hosts.toml`.
    pub(crate) fn hosts_toml(&self, registry: &str, text: &str) {
        let dir = self.config.hosts_dirs[0].join(registry);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("hosts.toml"), text).unwrap();
    }

    /// Files below the store, without the database and the lock.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for directory in ["layers", "merged", "images", "ingest"] {
            let entries = fs::read_dir(self.config.root_dir.join(directory)).unwrap();
            files.extend(entries.map(|entry| entry.unwrap().path()));
        }
        files
    }

    /// Files of downloads that are not finished.
    pub(crate) fn ingest(&self) -> usize {
        fs::read_dir(self.config.root_dir.join("ingest"))
            .unwrap()
            .count()
    }
}

/// A node and a registry with `image` as `app`.
pub(crate) async fn serving(image: &TestImage) -> (Node, MiniRegistry, String) {
    let (node, registry) = (Node::new(), MiniRegistry::start().await);
    image.push(&registry, "app", "latest");
    let name = format!("{}/app", registry.host);
    (node, registry, name)
}

/// An error with its causes, as the kubelet gets to see it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
