//! Reads files out of a merged image and its layers without mounting them.

use crate::read_at::ReadAt;

/// A merged image with its layers, or a single layer blob, opened for reading.
///
/// Everything read is checked: a corrupt blob is an error, never a panic or an endless loop.
pub struct ImageReader<S> {
    #[expect(dead_code, reason = "filled in by open")]
    sources: Vec<S>,
}

/// What `stat` would say about a file of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub file_type: FileType,
    /// Permissions with setuid, setgid and sticky bits; 12 bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes, of a file's content or a link's target.
    pub size: u64,
    /// Modification time, seconds since the epoch.
    pub mtime: i64,
    /// Nanoseconds of the modification time.
    pub mtime_nsec: u32,
    /// Names of this inode.
    pub nlink: u32,
}

/// Type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileType {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device, with major and minor number.
    CharDevice(u32, u32),
    /// A block device, with major and minor number.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
    /// A socket; our writer makes none.
    Socket,
}

impl<S: ReadAt> ImageReader<S> {
    /// Opens a merged image with its layers, bottom first, as given to [`merge`](crate::merge).
    pub fn open(merged: S, layers: Vec<S>) -> Result<Self, ReadError> {
        let _ = (merged, layers);
        todo!("reader")
    }

    /// Opens one layer blob on its own.
    pub fn open_layer(layer: S) -> Result<Self, ReadError> {
        let _ = layer;
        todo!("reader")
    }

    /// What is at `path` once every symbolic link is followed; `None` where there is nothing.
    ///
    /// Links are resolved inside the image, as in a chroot.
    pub fn metadata(&self, path: &[u8]) -> Result<Option<Metadata>, ReadError> {
        let _ = path;
        todo!("reader")
    }

    /// The whole content of the regular file at `path`, links followed; `None` where there is nothing.
    ///
    /// A file larger than `max_bytes` is an error.
    pub fn read_file(&self, path: &[u8], max_bytes: usize) -> Result<Option<Vec<u8>>, ReadError> {
        let _ = (path, max_bytes);
        todo!("reader")
    }
}

/// Why an image could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A blob could not be read.
    #[error("read image blob")]
    Io(#[from] std::io::Error),
}
