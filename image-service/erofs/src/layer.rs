//! A layer's tar becomes an EROFS blob, in one pass.
//!
//! The content of files goes to the blob as it is read; names, owners and attributes gather in a
//! [`Tree`] that is written behind it. What the tar says about lower layers is recorded, not applied:
//! whiteouts may stand anywhere in the stream and hide only what is below.

mod archive;
mod content;
mod entry;
mod error;
mod name;
mod pax;
mod resolve;
mod settle;
mod unpack;
mod window;

use std::io::{Read, Seek, Write};

use crate::block_writer::BlockWriter;
use crate::format::superblock::{BlobKind, Superblock};
use crate::tree::Tree;
use crate::writer::{self, MetadataPlan};
use crate::{BLOCK_SIZE, ImageUuid, Limits};

use archive::Archive;
pub use error::{EntryFault, LayerError, LayerErrorKind, TarFault};
pub use name::EntryName;
use unpack::Unpacker;

/// What the caller decides about a conversion.
#[derive(Debug, Clone)]
pub struct LayerOptions {
    /// From the layer's diffID.
    pub uuid: ImageUuid,
    /// Bounds on what the tar may ask for.
    pub limits: Limits,
}

/// What became of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSummary {
    /// Length of the blob in blocks of 4 KiB, holes included.
    pub blocks: u32,
    /// Entries read from the tar.
    pub entries: u64,
    /// Bytes consumed from the reader, up to its end.
    pub tar_bytes: u64,
    /// Names that hide something in lower layers.
    pub whiteouts: u64,
    /// Hard links to files of lower layers: only a merge resolves them, an overlay of blobs shows empty
    /// files.
    pub lower_links: u64,
    /// Extended attributes left out: overlayfs' own, ours, `security.selinux` and unknown classes.
    pub dropped_xattrs: u64,
}

/// Reads a decompressed tar to its end and writes the blob to `blob`, which must be empty.
///
/// The reader is drained past the archive's end mark, so that a digest taken on the way covers
/// every byte. On an error the blob's content is undefined.
pub fn convert_layer(
    tar: impl Read,
    blob: impl Write + Seek,
    options: &LayerOptions,
) -> Result<LayerSummary, LayerError> {
    let mut archive = Archive::new(tar, &options.limits);
    let mut blob = BlockWriter::new(blob);
    blob.pad_to(BLOCK_SIZE).map_err(LayerError::Write)?;
    let mut unpacker = Unpacker::new(&options.limits);
    while let Some(entry) = archive.next_entry()? {
        unpacker.add(entry, &mut archive, &mut blob)?;
    }
    let tar_bytes = archive.drain()?;
    let unpacked = unpacker.finish();
    let blocks = write_tree(&unpacked.tree, blob, options)?;
    Ok(LayerSummary {
        blocks,
        entries: unpacked.entries,
        tar_bytes,
        whiteouts: unpacked.whiteouts,
        lower_links: unpacked.lower_links,
        dropped_xattrs: unpacked.dropped_xattrs,
    })
}

fn write_tree<W: Write + Seek>(
    tree: &Tree,
    mut blob: BlockWriter<W>,
    options: &LayerOptions,
) -> Result<u32, LayerError> {
    let first_block = blob.align().map_err(LayerError::Write)?;
    let plan = MetadataPlan::new(tree, first_block, options.limits.max_blocks)?;
    writer::write_metadata(&plan, &mut blob, |content| content.block).map_err(LayerError::Write)?;
    let within = "the plan stays within max_blocks, a u32";
    let superblock = Superblock {
        kind: BlobKind::Layer,
        uuid: options.uuid,
        blocks: u32::try_from(plan.end_block()).expect(within),
        meta_block: u32::try_from(first_block).expect(within),
        root_nid: writer::ROOT_NID,
        inodes: plan.inode_count(),
        devices: Vec::new(),
    };
    blob.finish(&superblock.encode())
        .map_err(LayerError::Write)?;
    Ok(superblock.blocks)
}
