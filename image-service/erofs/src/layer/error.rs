//! Why a layer could not be converted.

use std::borrow::Cow;
use std::io;

use super::name::EntryName;
use crate::limits::LimitExceeded;

/// Why a layer could not be converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The reader failed: network, decompressor or digest.
    #[error("read layer")]
    Read(#[source] io::Error),
    /// The tar ends in the middle of an entry.
    #[error("read layer: the tar ends early, after {bytes} bytes")]
    Truncated {
        /// How many bytes there were.
        bytes: u64,
    },
    /// A header cannot be parsed.
    #[error("parse tar header near byte {offset}")]
    Header {
        /// Where it was met, counted from the start of the tar.
        offset: u64,
        /// What the parser found.
        source: TarFault,
    },
    /// An entry is one that a container runtime must refuse.
    #[error("unpack tar entry \"{name}\"")]
    Entry {
        /// Its path.
        name: EntryName,
        /// What is wrong with it.
        source: EntryFault,
    },
    /// The layer as a whole is larger than allowed.
    #[error("lay out layer")]
    TooLarge(#[from] LimitExceeded),
    /// The blob could not be written.
    #[error("write layer blob")]
    Write(#[source] io::Error),
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
    /// A bound of [`Limits`](crate::Limits) was exceeded.
    Limit,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryFault {
    /// No path at all.
    #[error("path is empty")]
    NoPath,
    /// A byte 0 in a path, which would end it early for everybody else.
    #[error("path contains a NUL byte")]
    NulInPath,
    /// A component that no file system can hold.
    #[error("path component is longer than 255 bytes")]
    NameTooLong,
    /// The root as something that is no directory.
    #[error("root is not a directory")]
    RootNotDirectory,
    /// A `.wh.` name that hides nothing nameable, or has children.
    #[error("malformed whiteout")]
    BadWhiteout,
    /// A character device 0:0, which is a whiteout to overlayfs.
    #[error("character device 0:0 is reserved for whiteouts")]
    WhiteoutDevice,
    /// Beyond 12 bits of major or 20 bits of minor number.
    #[error("device number {major}:{minor} is out of range")]
    DeviceOutOfRange {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// An owner that does not fit 32 bits.
    #[error("user or group id {0} is out of range")]
    IdOutOfRange(u64),
    /// A type flag that is no file.
    #[error("unknown tar entry type {:?}", char::from(*.0))]
    UnknownType(u8),
    /// A link without a target, or with one that no kernel would follow.
    #[error("malformed link target")]
    BadLinkTarget,
    /// A hard link to a directory.
    #[error("hard link to a directory")]
    LinkToDirectory,
    /// A PAX record that is not what its key asks for.
    #[error("malformed PAX record {0:?}")]
    BadPaxRecord(&'static str),
    /// An attribute whose name or value is not valid.
    #[error("malformed extended attribute")]
    BadXattr,
    /// Runs out of order, beyond the end, or not adding up to the entry's size.
    #[error("malformed sparse map")]
    BadSparseMap,
    /// More than allowed.
    #[error("limit exceeded")]
    Limit(#[from] LimitExceeded),
}

/// What the tar parser reports, cut to a length that may be logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TarFault(Cow<'static, str>);

impl TarFault {
    /// A header's size that no file can have.
    pub(super) const SIZE: Self = Self(Cow::Borrowed("size out of range"));

    const MAX_CHARS: usize = 200;

    pub(super) fn new(error: &tar_core::parse::ParseError) -> Self {
        Self(error.to_string().chars().take(Self::MAX_CHARS).collect())
    }
}

impl LayerError {
    /// The class of the error.
    pub fn kind(&self) -> LayerErrorKind {
        match self {
            Self::Read(_) | Self::Truncated { .. } => LayerErrorKind::Read,
            Self::Write(_) => LayerErrorKind::Write,
            Self::TooLarge(_)
            | Self::Entry {
                source: EntryFault::Limit(_),
                ..
            } => LayerErrorKind::Limit,
            Self::Header { .. } | Self::Entry { .. } => LayerErrorKind::Invalid,
        }
    }
}
