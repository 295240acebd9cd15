//! Layer blobs become one merged image that holds only metadata.

use std::io::{Seek, Write};

use crate::read_at::ReadAt;
use crate::{ImageLayout, ImageUuid, Limits};

/// What the caller decides about a merge.
#[derive(Debug, Clone)]
pub struct MergeOptions {
    /// From the chainID of the top layer.
    pub uuid: ImageUuid,
    /// Bounds on the merged tree.
    pub limits: Limits,
}

/// What a merge made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedSummary {
    /// Where the merged file and the layers stand; `merged_blocks` is the length of what was written.
    pub layout: ImageLayout,
    /// Names in the merged tree, the root not counted.
    pub entries: u64,
}

/// Merges `layers`, bottom first, and writes the merged image to `out`, which must be empty.
///
/// The layers are only read. What is written depends on them and on `options` alone.
pub fn merge<S: ReadAt>(
    layers: &[S],
    out: impl Write + Seek,
    options: &MergeOptions,
) -> Result<MergedSummary, MergeError> {
    let _ = (layers, out, options);
    todo!("merge")
}

/// Why layers could not be merged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The merged image could not be written.
    #[error("write merged image")]
    Write(#[source] std::io::Error),
}
