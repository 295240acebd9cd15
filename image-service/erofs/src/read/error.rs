//! Why an image could not be read.

use crate::format::Malformed;
use crate::limits::LimitExceeded;

/// Why an image could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A blob could not be read.
    #[error("read image blob")]
    Io(#[from] std::io::Error),
    /// A blob is not what our writer writes: rotten, cut short, or of another version.
    #[error("image blob {0}")]
    Corrupt(&'static str),
    /// The image was merged from another number of layers.
    #[error("image has {expected} layers, not {actual}")]
    LayerCount {
        /// As the image says.
        expected: usize,
        /// As given.
        actual: usize,
    },
    /// A blob's length is not what it should be.
    #[error("image blob has {actual} bytes, not {expected}")]
    Length {
        /// As the image says.
        expected: u64,
        /// As it is.
        actual: u64,
    },
    /// More symbolic links on one path than a kernel follows.
    #[error("too many symbolic links")]
    TooManyLinks,
    /// Only regular files have content.
    #[error("not a regular file")]
    NotAFile,
    /// The file is larger than asked for.
    #[error("file has {size} bytes, more than {max_bytes}")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The bound.
        max_bytes: usize,
    },
    /// The image has more of something than the caller wants to see.
    #[error("read image tree")]
    Limit(#[from] LimitExceeded),
}

impl From<Malformed> for ReadError {
    fn from(malformed: Malformed) -> Self {
        Self::Corrupt(malformed.0)
    }
}
