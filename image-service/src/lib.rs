//! Container images: pulled from registries, kept as EROFS, handed to sandboxes.
//!
//! ```text
//!  registry ──pull──▶ layer blob (EROFS, by diffID) ─┐
//!                     layer blob …                   ├─merge─▶ merged image (by chainID)
//!                                                    │            │ mount    host: a directory
//!                     images.db, sidecars ◀──────────┘            │ disk     guest: extents of files
//! ```
//!
//! [`Images`] is the whole interface; it is cheap to clone and safe to use from many tasks.
//! Dropping the future of a [`pull`](Images::pull) means nobody waits for it any more: when the
//! last who waits for a download is gone, the download ends.

mod auth;
mod config;
mod configuration;
mod digest;
mod error;
mod image;
mod manifest;
mod platform;
mod reference;
mod registry;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

pub use auth::Auth;
pub use config::Config;
pub use digest::{Digest, DigestError};
pub use error::ErrorKind;
pub use image::{Disk, Extent, FsUsage, Image, ImageConfig, ImageId, ImageUser};
pub use reference::ReferenceError;

/// All images of this node.
#[derive(Clone)]
pub struct Images {}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("open image store")]
pub struct OpenError {}

/// Why an image could not be pulled.
#[derive(Clone, Debug, thiserror::Error)]
#[error("pull image")]
pub struct PullError {}

/// Why an image of the store could not be used or removed.
#[derive(Debug, thiserror::Error)]
#[error("image")]
pub struct StoreError {}

impl OpenError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        todo!()
    }
}

impl PullError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        todo!()
    }
}

impl StoreError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        todo!()
    }
}

impl Images {
    /// Opens the store and repairs what a crash left: half-written blobs go, a corrupt database is
    /// moved aside and rebuilt, images that lost a blob are forgotten so that they are pulled again.
    ///
    /// Holders of the last run keep their images and mounts until [`retain`](Self::retain).
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let _ = config;
        todo!()
    }

    /// Fetches what `reference` names, for this node's platform, unless it is here already. The
    /// registry is asked in any case, with these credentials, whether the caller may have it.
    pub async fn pull(&self, reference: &str, auth: Option<&Auth>) -> Result<ImageId, PullError> {
        let _ = (reference, auth);
        todo!()
    }

    /// All complete images.
    pub fn list(&self) -> Vec<Arc<Image>> {
        todo!()
    }

    /// The image with this name (normalised as in a pull), id, unambiguous prefix of an id (with or
    /// without `sha256:`), or name with digest.
    pub fn find(&self, query: &str) -> Option<Arc<Image>> {
        let _ = query;
        todo!()
    }

    /// Removes the image that `query` finds, with all its names. Unknown images are removed
    /// already. Files stay while somebody holds the image; otherwise their space is free on return.
    pub async fn remove(&self, query: &str) -> Result<(), StoreError> {
        let _ = query;
        todo!()
    }

    /// What the store uses of its file system.
    pub fn usage(&self) -> FsUsage {
        todo!()
    }

    /// Keeps the image's files for `holder` (a container's id) until [`release`](Self::release),
    /// whatever is removed meanwhile. Survives restarts. Holding twice is holding once.
    pub async fn hold(&self, image: &ImageId, holder: &str) -> Result<(), StoreError> {
        let _ = (image, holder);
        todo!()
    }

    /// Like [`hold`](Self::hold), and mounts the image's files read-only at the returned directory,
    /// once for all holders.
    pub async fn mount(&self, image: &ImageId, holder: &str) -> Result<PathBuf, StoreError> {
        let _ = (image, holder);
        todo!()
    }

    /// Like [`hold`](Self::hold), and tells which pieces of which files make up a guest's disk.
    pub async fn disk(&self, image: &ImageId, holder: &str) -> Result<Disk, StoreError> {
        let _ = (image, holder);
        todo!()
    }

    /// Ends what `holder` has of the image. The last holder's release unmounts it, and frees the
    /// files if the image was removed. Releasing what isn't held is fine.
    pub async fn release(&self, image: &ImageId, holder: &str) -> Result<(), StoreError> {
        let _ = (image, holder);
        todo!()
    }

    /// After a restart: releases everything held by anybody not in `holders`.
    pub async fn retain(&self, holders: &HashSet<String>) -> Result<(), StoreError> {
        let _ = holders;
        todo!()
    }

    /// The file at `path` in the image, links followed inside the image; `None` where there is
    /// none. Larger files than `max_bytes` are an error.
    pub async fn read_file(
        &self,
        image: &ImageId,
        path: &str,
        max_bytes: usize,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let _ = (image, path, max_bytes);
        todo!()
    }

    /// The image's configuration as its author wrote it.
    pub async fn raw_config(&self, image: &ImageId) -> Result<String, StoreError> {
        let _ = image;
        todo!()
    }
}
