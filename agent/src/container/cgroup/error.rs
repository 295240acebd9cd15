//! Why a cgroup is not as it should be.

use std::io::ErrorKind;
use std::path::PathBuf;

/// Why a cgroup is not as it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    /// A name that would lead elsewhere.
    #[error("{0:?} cannot be a cgroup's name")]
    Name(String),
    /// A new one.
    #[error("create cgroup {}", .path.display())]
    Create {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file of it.
    #[error("write {value:?} to {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was to be written.
        value: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A resource that makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The device filter.
    #[error("restrict devices of {}", .path.display())]
    Devices {
        /// Whose.
        path: PathBuf,
        /// Why not.
        source: rustix::io::Errno,
    },
    /// It does not go away.
    #[error("remove cgroup {}", .path.display())]
    Remove {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl CgroupError {
    /// Whether what was asked for is at fault.
    pub(crate) fn is_invalid(&self) -> bool {
        match self {
            Self::Name(_) | Self::Invalid(_) => true,
            Self::Write { source, .. } => {
                matches!(source.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound)
                    || source.raw_os_error() == Some(libc::ERANGE)
            }
            _ => false,
        }
    }
}
