//! Why a pull failed.

use std::sync::Arc;

use erofs_image::{LayerError, LayerErrorKind, MergeError};

use crate::blocking::CutShort;
use crate::digest::Digest;
use crate::error::ErrorKind;
use crate::manifest::BadImage;
use crate::reference::ReferenceError;
use crate::registry::{Attempts, SessionError};
use crate::store::{FileError, StoreError, is_no_space};

/// Why an image could not be pulled.
#[derive(Clone, Debug, thiserror::Error)]
#[error("pull {image}")]
pub struct PullError {
    /// The image, as asked for.
    pub(crate) image: String,
    /// Shared, because everybody who waited for the same download gets it.
    pub(crate) source: Arc<PullCause>,
}

impl PullError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        self.source.kind()
    }
}

/// The step of a pull that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullCause {
    /// The name is no name.
    #[error("read the reference")]
    Reference(#[from] ReferenceError),
    /// The conversation could not begin.
    #[error("prepare to ask the registry")]
    Session(#[from] SessionError),
    /// No host said what the name means.
    #[error("find out which image that is")]
    Resolve(#[source] Attempts),
    /// No host sent the manifest.
    #[error("fetch manifest {digest}")]
    Manifest {
        /// Of which digest.
        digest: Digest,
        /// Who did what.
        source: Attempts,
    },
    /// No host sent the configuration.
    #[error("fetch configuration {digest}")]
    Config {
        /// Of which digest.
        digest: Digest,
        /// Who did what.
        source: Attempts,
    },
    /// No host sent a layer.
    #[error("fetch layer {digest}")]
    Layer {
        /// Of which digest.
        digest: Digest,
        /// Who did what.
        source: Attempts,
    },
    /// The image is of no use.
    #[error("this image can't be used")]
    BadImage(#[from] BadImage),
    /// A layer is no good tar, or can't be written.
    #[error("unpack layer {digest}")]
    Unpack {
        /// Of which digest, compressed.
        digest: Digest,
        /// What is wrong.
        source: LayerError,
    },
    /// A layer is not the one that the configuration means.
    #[error("layer {digest} unpacks to {found}, the configuration says {expected}")]
    DiffId {
        /// Of which digest, compressed.
        digest: Digest,
        /// What its uncompressed bytes are.
        found: Digest,
        /// What they should be.
        expected: Digest,
    },
    /// A layer is larger than the configuration allows.
    #[error("layer {digest} is larger than max_layer_mib allows: over {max_bytes} bytes")]
    LayerTooLarge {
        /// Of which digest, compressed.
        digest: Digest,
        /// The limit.
        max_bytes: u64,
    },
    /// The layers don't make up an image.
    #[error("merge the layers")]
    Merge(#[from] MergeError),
    /// The store failed.
    #[error("keep the image")]
    Store(#[from] StoreError),
    /// A file of the store can't be written.
    #[error("keep the image")]
    File(#[from] FileError),
    /// Work that was done for several pulls failed.
    #[error(transparent)]
    Shared(Arc<PullCause>),
    /// A task of ours ended early.
    #[error("pull")]
    CutShort(#[from] CutShort),
}

impl PullCause {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Reference(_) | Self::Session(SessionError::Credential(_)) => {
                ErrorKind::InvalidArgument
            }
            Self::Session(_) => ErrorKind::Misconfigured,
            Self::Resolve(source)
            | Self::Manifest { source, .. }
            | Self::Config { source, .. }
            | Self::Layer { source, .. } => source.kind(),
            Self::BadImage(_) | Self::DiffId { .. } | Self::LayerTooLarge { .. } => {
                ErrorKind::BadImage
            }
            Self::Unpack { source, .. } => unpack_kind(source),
            Self::Merge(error) => merge_kind(error),
            Self::Store(error) => error.kind(),
            Self::Shared(cause) => cause.kind(),
            Self::File(error) if error.is_no_space() => ErrorKind::NoSpace,
            Self::File(_) | Self::CutShort(_) => ErrorKind::Internal,
        }
    }
}

fn unpack_kind(error: &LayerError) -> ErrorKind {
    match (error.kind(), error) {
        (LayerErrorKind::Write, LayerError::Write(error)) if is_no_space(error) => {
            ErrorKind::NoSpace
        }
        (LayerErrorKind::Write, _) => ErrorKind::Internal,
        _ => ErrorKind::BadImage,
    }
}

fn merge_kind(error: &MergeError) -> ErrorKind {
    match error {
        MergeError::Write(error) if is_no_space(error) => ErrorKind::NoSpace,
        MergeError::Write(_) | MergeError::Layer { .. } => ErrorKind::Internal,
        _ => ErrorKind::BadImage,
    }
}
