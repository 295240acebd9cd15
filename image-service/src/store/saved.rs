//! What survives a restart: the same records stand in the database and in the sidecars.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::image::ImageId;

/// Version of all records. A reader refuses what is newer than itself.
pub(super) const SCHEMA: u32 = 1;

/// Which file of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct BlobKey {
    pub(crate) kind: BlobKind,
    /// The diffID of a layer, the chainID of a merged image.
    pub(crate) digest: Digest,
    /// The converter that wrote it. Another one lays out the same content differently, and a
    /// merged image holds addresses into its layers, so they are never mixed.
    pub(crate) converter: u32,
}

/// What a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BlobKind {
    /// One layer.
    Layer,
    /// The names of a whole image.
    Merged,
}

/// A blob that is complete and on disk for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedBlob {
    pub(super) schema: u32,
    #[serde(flatten)]
    pub(crate) key: BlobKey,
    /// Its length; anything else on disk means that it is damaged.
    pub(crate) len_bytes: u64,
    /// What it takes on disk: less than its length where files have holes.
    pub(crate) disk_bytes: u64,
    /// When it was written, in seconds since the epoch.
    pub(crate) saved_at: u64,
}

/// An image whose blobs are all there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedImage {
    pub(super) schema: u32,
    pub(crate) id: ImageId,
    pub(crate) repo_tags: BTreeSet<String>,
    pub(crate) repo_digests: BTreeSet<String>,
    /// diffIDs, bottom first.
    pub(crate) layers: Vec<Digest>,
    pub(crate) chain_id: Digest,
    pub(crate) converter: u32,
    /// Seconds since the epoch. Where a tag is claimed twice, the later pull has it.
    pub(crate) pulled_at: u64,
    /// Removed while in use: nobody sees it, but its blobs stay until it is released.
    pub(crate) removed: bool,
}

/// What somebody keeps of an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Hold {
    pub(crate) image: ImageId,
    pub(crate) holder: String,
}

impl SavedImage {
    /// Its layers' blobs, bottom first.
    pub(crate) fn layer_keys(&self) -> impl Iterator<Item = BlobKey> + '_ {
        self.layers.iter().map(|digest| BlobKey {
            kind: BlobKind::Layer,
            digest: *digest,
            converter: self.converter,
        })
    }

    /// Its merged blob.
    pub(crate) fn merged_key(&self) -> BlobKey {
        BlobKey {
            kind: BlobKind::Merged,
            digest: self.chain_id,
            converter: self.converter,
        }
    }

    /// All blobs that it needs, each once.
    pub(crate) fn blobs(&self) -> BTreeSet<BlobKey> {
        self.layer_keys().chain([self.merged_key()]).collect()
    }
}

pub(crate) fn unix_now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

pub(crate) fn system_time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
