//! Layer blobs become one merged image that holds only metadata.
//!
//! Each layer's tree is read back from its blob and laid over the sum of the layers below; the blobs'
//! data stays where it is and is only pointed to.

mod compact;
mod load;
mod overlay;

use std::io::{Seek, Write};

use crate::block_writer::BlockWriter;
use crate::format::superblock::{BlobKind, Superblock, header_blocks};
use crate::limits::LimitExceeded;
use crate::read::ReadError;
use crate::read_at::ReadAt;
use crate::tree::{Content, Tree};
use crate::writer::{self, MetadataPlan};
use crate::{BLOCK_SIZE, EntryName, ImageLayout, ImageUuid, Limits};

use compact::Compactor;

/// What the caller decides about a merge.
#[derive(Debug, Clone)]
pub struct MergeOptions {
    /// From the chainID of the top layer.
    pub uuid: ImageUuid,
    /// Bounds on the merged tree, and on each layer's.
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

/// Why layers could not be merged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// A layer blob cannot be read, or is corrupt.
    #[error("read layer {layer}")]
    Layer {
        /// Its index, 0 at the bottom.
        layer: usize,
        /// What is wrong with it.
        source: ReadError,
    },
    /// A layer links to a file that no layer below has.
    #[error("layer {layer} has a hard link to \"{target}\", which is no file of the layers below")]
    LinkTarget {
        /// Its index, 0 at the bottom.
        layer: usize,
        /// Path of the missing file.
        target: EntryName,
    },
    /// The image as a whole is larger than allowed.
    #[error("lay out merged image")]
    TooLarge(#[from] LimitExceeded),
    /// The merged image could not be written.
    #[error("write merged image")]
    Write(#[source] std::io::Error),
}

/// How many times `max_entries` all layers together may have: what upper layers replace costs time
/// too, and a layer may be in an image as often as there may be layers.
const MAX_TURNOVER: u64 = 4;

/// Merges `layers`, bottom first, and writes the merged image to `out`, which must be empty.
///
/// The layers are only read. What is written depends on them and on `options` alone.
pub fn merge<S: ReadAt>(
    layers: &[S],
    out: impl Write + Seek,
    options: &MergeOptions,
) -> Result<MergedSummary, MergeError> {
    let limits = &options.limits;
    LimitExceeded::check("layers", layers.len() as u64, u64::from(limits.max_layers))?;
    let mut sum = overlay::empty();
    let mut compactor = Compactor::default();
    let mut blocks = Vec::new();
    let mut files = 0;
    for (index, layer) in layers.iter().enumerate() {
        let loaded =
            load::load_layer(layer, index, limits).map_err(|source| MergeError::Layer {
                layer: index,
                source,
            })?;
        blocks.push(loaded.blocks);
        files += loaded.tree.len() as u64;
        let max_files = limits.max_entries.saturating_mul(MAX_TURNOVER);
        LimitExceeded::check("files in all layers", files, max_files)?;
        overlay::lay_over(&mut sum, loaded.tree, index)?;
        sum = compactor.after_layer(sum, limits)?;
    }
    let (tree, entries) = compact::compact(sum, limits)?;
    let layout = write_image(&tree, &blocks, out, options)?;
    Ok(MergedSummary { layout, entries })
}

fn write_image(
    tree: &Tree,
    layers: &[u32],
    out: impl Write + Seek,
    options: &MergeOptions,
) -> Result<ImageLayout, MergeError> {
    let max_blocks = options.limits.max_blocks;
    let first_block = header_blocks(layers.len());
    let plan = MetadataPlan::new(tree, first_block, max_blocks)?;
    // The guest's block 0 comes last.
    let merged_blocks = u32::try_from(plan.end_block() + 1).unwrap_or(u32::MAX);
    let layout = ImageLayout::new(merged_blocks, layers).ok_or(LimitExceeded {
        what: "blocks",
        limit: u64::from(u32::MAX),
    })?;

    let mut blob = BlockWriter::new(out);
    blob.pad_to(first_block * BLOCK_SIZE)
        .map_err(MergeError::Write)?;
    let address = |content: Content| layout.layers[content.layer as usize].base + content.block;
    writer::write_metadata(&plan, &mut blob, address).map_err(MergeError::Write)?;

    let host = Superblock {
        kind: BlobKind::Image,
        uuid: options.uuid,
        blocks: merged_blocks,
        meta_block: u32::try_from(first_block).expect("a table is at most 8 MiB"),
        root_nid: writer::ROOT_NID,
        inodes: plan.inode_count(),
        devices: layout.devices(),
    };
    let guest = Superblock {
        blocks: layout.total_blocks(),
        devices: Vec::new(),
        ..host.clone()
    };
    blob.write(&guest.encode()).map_err(MergeError::Write)?;
    blob.finish(&host.encode()).map_err(MergeError::Write)?;
    Ok(layout)
}
