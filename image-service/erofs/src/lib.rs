//! Container image layers as EROFS: tar layer → EROFS blob, and layers → one merged image.
//!
//! ```text
//!  tar (decompressed) ──convert_layer──▶ layer blob      data first, metadata last, superblock patched at the end
//!  layer blobs        ──merge──────────▶ merged image    metadata only; files point into the layer blobs
//!  merged + layers    ──ImageReader────▶ /etc/passwd     without mounting anything
//! ```
//!
//! **No I/O policy.** Nothing here opens a path, syncs, renames or logs: bytes come from a
//! [`Read`](std::io::Read) or a [`ReadAt`], and go to a `Write + Seek` that starts out empty.
//! Everything is synchronous; async callers use `spawn_blocking`.
//!
//! **Hostile input.** The tar is written by a stranger. Names become keys of an in-memory tree and
//! never paths of the host; every amount is checked against [`Limits`]. The reader trusts nothing in
//! a blob either, because disks rot.
//!
//! # The two files
//!
//! A *layer blob* is a file system of its own: whiteouts are character devices 0:0, opaque directories
//! carry `trusted.overlay.opaque=y`, so that blobs stack as lower directories of an overlay. What a
//! layer says about the layers below it and overlayfs has no word for is kept in private extended
//! attributes ([`LayerSummary::lower_links`] counts the ones that only a merge can honour).
//!
//! A *merged image* addresses the concatenation `[merged][layer 0][layer 1]…` in blocks of 4 KiB:
//!
//! * **host**: mount the merged file with `device=<layer 0>,device=<layer 1>,…`;
//! * **guest**: serve [`ImageLayout::guest_disk`] as one read-only disk. It is the concatenation with
//!   another block 0, one without a device table, which kernels before 6.4 need.

mod block_writer;
mod format;
mod image_uuid;
mod layer;
mod layout;
mod limits;
mod marks;
mod merge;
mod read;
mod read_at;
mod tree;
mod writer;

pub use image_uuid::ImageUuid;
pub use layer::{
    EntryFault, EntryName, LayerError, LayerErrorKind, LayerOptions, LayerSummary, TarFault,
    convert_layer,
};
pub use layout::{DiskExtent, DiskSource, ImageLayout, PlacedLayer};
pub use limits::{LimitExceeded, Limits};
pub use merge::{MergeError, MergeOptions, MergedSummary, merge};
pub use read::{FileType, ImageReader, Metadata, ReadError, WalkEntry};
pub use read_at::ReadAt;

/// Bytes in a block: the unit of every address in a blob.
pub const BLOCK_SIZE: u64 = 4096;

/// Changes whenever the same tar would become different bytes; kept in every blob and in its sidecar.
pub const CONVERTER_VERSION: u32 = 2;
