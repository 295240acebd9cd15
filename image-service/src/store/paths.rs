//! Where the store keeps what.
//!
//! ```text
//! <root>/lock                       held by the server that uses the store
//!        images.db                  the truth, unless it is lost
//!        layers/<diffID>-<v>.erofs  a layer, written by version v of the converter; .json: its sidecar
//!        merged/<chainID>-<v>.erofs a merged image; .json: its sidecar
//!        images/<id>.config         an image's configuration as its author wrote it
//!        images/<id>.json           its sidecar: names and layers
//!        ingest/                    what is being written; emptied at start
//! ```

use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::image::ImageId;
use crate::store::saved::{BlobKey, BlobKind};

/// Paths below the store's root.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    root: PathBuf,
}

impl Paths {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn database(&self) -> PathBuf {
        self.root.join("images.db")
    }

    pub(super) fn ingest(&self) -> PathBuf {
        self.root.join("ingest")
    }

    pub(super) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// The directory of all blobs of a kind.
    pub(super) fn blobs(&self, kind: BlobKind) -> PathBuf {
        self.root.join(match kind {
            BlobKind::Layer => "layers",
            BlobKind::Merged => "merged",
        })
    }

    pub(crate) fn blob(&self, key: &BlobKey) -> PathBuf {
        self.blobs(key.kind)
            .join(format!("{}-{}.erofs", key.digest.hex(), key.converter))
    }

    pub(super) fn blob_sidecar(&self, key: &BlobKey) -> PathBuf {
        self.blob(key).with_extension("json")
    }

    pub(crate) fn image_config(&self, id: &ImageId) -> PathBuf {
        self.images().join(format!("{}.config", id.0.hex()))
    }

    pub(super) fn image_sidecar(&self, id: &ImageId) -> PathBuf {
        self.images().join(format!("{}.json", id.0.hex()))
    }

    /// All directories, parents first.
    pub(super) fn directories(&self) -> [PathBuf; 5] {
        [
            self.root.clone(),
            self.blobs(BlobKind::Layer),
            self.blobs(BlobKind::Merged),
            self.images(),
            self.ingest(),
        ]
    }
}

/// What a file in a directory of blobs is called after, if it is a blob or its sidecar.
pub(super) fn blob_key(kind: BlobKind, file: &Path) -> Option<BlobKey> {
    let stem = file.file_stem()?.to_str()?;
    let (hex, converter) = stem.split_once('-')?;
    let digest = Digest::from_hex(hex).ok()?;
    Some(BlobKey {
        kind,
        digest,
        converter: converter.parse().ok()?,
    })
}

/// What a file in the directory of images is called after.
pub(super) fn image_id(file: &Path) -> Option<ImageId> {
    Digest::from_hex(file.file_stem()?.to_str()?)
        .ok()
        .map(ImageId)
}
