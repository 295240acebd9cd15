//! A layer's tar becomes an EROFS blob, in one pass.

use std::io::{Read, Seek, Write};

use crate::{ImageUuid, Limits};

/// What the caller decides about a conversion.
#[derive(Debug, Clone)]
pub struct LayerOptions {
    /// From the layer's diffID.
    pub uuid: ImageUuid,
    /// Bounds on what the tar may ask for.
    pub limits: Limits,
}

/// What became of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSummary {
    /// Length of the blob in blocks of 4 KiB, holes included.
    pub blocks: u32,
    /// Entries read from the tar.
    pub entries: u64,
    /// Bytes consumed from the reader, up to its end.
    pub tar_bytes: u64,
    /// Names that hide something in lower layers.
    pub whiteouts: u64,
    /// Hard links to files of lower layers: only a merge resolves them, an overlay of blobs shows empty files.
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
    let _ = (tar, blob, options);
    todo!("conversion")
}

/// Why a layer could not be converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The reader failed: network, decompressor or digest.
    #[error("read layer")]
    Read(#[source] std::io::Error),
    /// The blob could not be written.
    #[error("write layer blob")]
    Write(#[source] std::io::Error),
}

/// What to do about a [`LayerError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerErrorKind {
    /// The source failed or ended early: a retry may help.
    Read,
    /// Our side failed: disk full, I/O error.
    Write,
    /// The tar is malformed or asks for something a container runtime must refuse.
    Invalid,
    /// A [`Limits`] bound was exceeded.
    Limit,
}

impl LayerError {
    /// The class of the error.
    pub fn kind(&self) -> LayerErrorKind {
        match self {
            Self::Read(_) => LayerErrorKind::Read,
            Self::Write(_) => LayerErrorKind::Write,
        }
    }
}
