//! Reads files out of a merged image and its layers without mounting them.

mod directory;
mod error;
mod inode;
mod resolve;
mod space;
mod walk;

use crate::BLOCK_SIZE;
use crate::format::inode::TypeBits;
use crate::format::superblock::{BlobKind, Superblock};
use crate::layout::ImageLayout;
use crate::limits::LimitExceeded;
use crate::read_at::ReadAt;

pub use error::ReadError;
pub(crate) use inode::Inode;
use space::Space;
pub(crate) use space::read_superblock;
pub use walk::WalkEntry;

/// A merged image with its layers, or a single blob, opened for reading.
///
/// Everything read is checked: a corrupt blob is an error, never a panic or an endless loop.
#[derive(Debug)]
pub struct ImageReader<S> {
    superblock: Superblock,
    space: Space<S>,
}

/// What `stat` would say about a file of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub file_type: FileType,
    /// Permissions with setuid, setgid and sticky bits; 12 bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes, of a file's content, a directory's data or a link's target.
    pub size: u64,
    /// Modification time, seconds since the epoch.
    pub mtime: i64,
    /// Nanoseconds of the modification time.
    pub mtime_nsec: u32,
    /// Names of this inode.
    pub nlink: u32,
    /// Number of the inode within its file system.
    pub inode: u64,
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
    /// Opens a merged image with its layers, bottom first, as given to [`merge`](crate::merge()).
    pub fn open(merged: S, layers: Vec<S>) -> Result<Self, ReadError> {
        let superblock = read_superblock(&merged, BlobKind::Image)?;
        let layout = ImageLayout::of(&superblock)?;
        if layout.layers.len() != layers.len() {
            let (expected, actual) = (layout.layers.len(), layers.len());
            return Err(ReadError::LayerCount { expected, actual });
        }
        let space = Space::open(
            merged,
            superblock.blocks,
            layout.layers.into_iter().zip(layers),
        )?;
        Ok(Self { superblock, space })
    }

    /// Opens one layer blob on its own.
    pub fn open_layer(layer: S) -> Result<Self, ReadError> {
        let superblock = read_superblock(&layer, BlobKind::Layer)?;
        Self::open_alone(superblock, layer)
    }

    /// Opens the guest's disk: all of [`ImageLayout::guest_disk`] as one blob.
    pub fn open_guest_disk(disk: S) -> Result<Self, ReadError> {
        let superblock = read_superblock(&disk, BlobKind::Image)?;
        Self::open_alone(superblock, disk)
    }

    /// What is at `path` once every symbolic link is followed; `None` where there is nothing.
    ///
    /// Links are resolved inside the image, as in a chroot.
    pub fn metadata(&self, path: &[u8]) -> Result<Option<Metadata>, ReadError> {
        Ok(self.resolve(path)?.map(|inode| Metadata::of(&inode)))
    }

    /// The whole content of the regular file at `path`, links followed; `None` where there is nothing.
    ///
    /// A file larger than `max_bytes` is an error, and so is anything that is no regular file.
    pub fn read_file(&self, path: &[u8], max_bytes: usize) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(inode) = self.resolve(path)? else {
            return Ok(None);
        };
        self.content(&inode, max_bytes).map(Some)
    }

    /// Blocks of the file that holds the metadata.
    pub(crate) fn blocks(&self) -> u32 {
        self.superblock.blocks
    }

    /// Reads all metadata into memory at once, if that is at most `max_bytes`.
    pub(crate) fn keep_metadata(&mut self, max_bytes: u64) -> Result<(), ReadError> {
        let start = u64::from(self.superblock.meta_block) * BLOCK_SIZE;
        let bytes = (u64::from(self.blocks()) * BLOCK_SIZE).saturating_sub(start);
        LimitExceeded::check("bytes of file metadata", bytes, max_bytes)?;
        self.space.keep(start)
    }

    fn open_alone(superblock: Superblock, source: S) -> Result<Self, ReadError> {
        if !superblock.devices.is_empty() {
            return Err(ReadError::LayerCount {
                expected: superblock.devices.len(),
                actual: 0,
            });
        }
        let space = Space::open(source, superblock.blocks, std::iter::empty())?;
        Ok(Self { superblock, space })
    }

    fn content(&self, inode: &Inode, max_bytes: usize) -> Result<Vec<u8>, ReadError> {
        if inode.raw.type_bits != TypeBits::Regular {
            return Err(ReadError::NotAFile);
        }
        let size = usize::try_from(inode.raw.size).unwrap_or(usize::MAX);
        if size > max_bytes {
            return Err(ReadError::TooLarge {
                size: inode.raw.size,
                max_bytes,
            });
        }
        self.inode_data(inode, size)
    }
}

impl Metadata {
    fn of(inode: &Inode) -> Self {
        let raw = &inode.raw;
        Self {
            file_type: FileType::of(inode),
            mode: raw.mode,
            uid: raw.uid,
            gid: raw.gid,
            size: raw.size,
            mtime: raw.mtime,
            mtime_nsec: raw.mtime_nsec,
            nlink: raw.nlink,
            inode: inode.nid,
        }
    }
}

impl FileType {
    fn of(inode: &Inode) -> Self {
        let (major, minor) = inode.device_number();
        match inode.raw.type_bits {
            TypeBits::Regular => Self::Regular,
            TypeBits::Directory => Self::Directory,
            TypeBits::Symlink => Self::Symlink,
            TypeBits::CharDevice => Self::CharDevice(major, minor),
            TypeBits::BlockDevice => Self::BlockDevice(major, minor),
            TypeBits::Fifo => Self::Fifo,
            TypeBits::Socket => Self::Socket,
        }
    }
}
