//! Why the store could not do something.

use std::path::PathBuf;

use erofs_image::ReadError;

use super::db::DbError;
use super::durable::FileError;
use crate::blocking::CutShort;
use crate::error::ErrorKind;
use crate::image::ImageId;

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration is wrong.
    #[error("image configuration: {}", .0.join("; "))]
    Config(Vec<String>),
    /// Another server has it open.
    #[error("{0} is used by another server")]
    InUse(PathBuf),
    /// A file or directory of it can't be used.
    #[error("open the image store")]
    File(#[from] FileError),
    /// Its database can't be used.
    #[error("open the image store")]
    Db(#[from] DbError),
    /// Mounts of an earlier run can't be examined.
    #[error("end mounts of an earlier run")]
    Mounts(#[source] StoreError),
    /// A task of ours ended early.
    #[error("open the image store")]
    CutShort(#[from] CutShort),
}

impl OpenError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) => ErrorKind::Misconfigured,
            Self::InUse(_) => ErrorKind::InUse,
            Self::File(error) if error.is_no_space() => ErrorKind::NoSpace,
            Self::Db(error) if error.is_no_space() => ErrorKind::NoSpace,
            Self::File(_) | Self::Db(_) | Self::Mounts(_) | Self::CutShort(_) => {
                ErrorKind::Internal
            }
        }
    }
}

/// Why an image of the store could not be used or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such image, or no longer.
    #[error("there is no image {0}")]
    NotFound(ImageId),
    /// A file of the store can't be used.
    #[error("use the image store")]
    File(#[from] FileError),
    /// The database can't be used.
    #[error("use the image store")]
    Db(#[from] DbError),
    /// A blob is damaged.
    #[error("read image {image}")]
    Read {
        /// The image.
        image: ImageId,
        /// What is wrong.
        source: ReadError,
    },
    /// The kernel does not mount the image.
    #[error("mount image {image}")]
    Mount {
        /// The image.
        image: ImageId,
        /// Which step failed.
        source: crate::rootfs::MountError,
    },
    /// A mount can't be ended.
    #[error("unmount {path}")]
    Unmount {
        /// Where it is mounted.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A task of ours ended early.
    #[error("use the image store")]
    CutShort(#[from] CutShort),
}

impl StoreError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::File(error) if error.is_no_space() => ErrorKind::NoSpace,
            Self::Db(error) if error.is_no_space() => ErrorKind::NoSpace,
            _ => ErrorKind::Internal,
        }
    }
}
