//! How networks of pods fail.

use std::path::PathBuf;

use sandbox::Kind;

/// A pod's network could not be made or released.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The directory of namespaces is not usable.
    #[error("make {path}, where network namespaces go")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The namespace could not be made.
    #[error("{doing} for network namespace {path}")]
    Create {
        /// Which step.
        doing: &'static str,
        /// Where it was to be.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The pod could not be connected or disconnected.
    #[error(transparent)]
    Cni(#[from] cni::Error),
    /// The namespace could not be given back.
    #[error("release network namespace {path}")]
    Release {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl NetworkError {
    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Cni(error) => match error.kind() {
                cni::Kind::Invalid => Kind::Invalid,
                cni::Kind::TryLater => Kind::Unavailable,
                cni::Kind::TimedOut => Kind::TimedOut,
                cni::Kind::Plugin | cni::Kind::Internal => Kind::Internal,
            },
            Self::Directory { .. } | Self::Create { .. } | Self::Release { .. } => Kind::Internal,
        }
    }
}
