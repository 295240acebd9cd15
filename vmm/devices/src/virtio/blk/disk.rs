//! What a block device's content is kept in: pieces of read-only files, or one writable file.

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::extents::{Extent, Extents};
use super::guest_io;
use crate::virtio::chain::Cursor;

/// Bytes that a disk is addressed in.
pub const SECTOR: u64 = 512;

/// The content of a disk.
#[derive(Debug)]
pub enum Disk {
    /// Extents of files, one after the other.
    ReadOnly(Extents),
    /// One file, written in place.
    ReadWrite(Writable),
}

/// A disk can't be made of what it was described by.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// There is nothing in it.
    #[error("disk has no extents")]
    Empty,
    /// It is not made of sectors.
    #[error("extent {0} is not made of whole sectors of 512 bytes")]
    Sectors(usize),
    /// It is longer than addresses are.
    #[error("disk is too long")]
    TooLong,
    /// The file is too short.
    #[error("extent {index} ends at {end} of a file of {len} bytes")]
    BeyondEnd {
        /// Which extent.
        index: usize,
        /// Where it ends in its file.
        end: u64,
        /// Length of the file.
        len: u64,
    },
    /// A file can't be asked for its length.
    #[error("examine the file of extent {index}")]
    Examine {
        /// Which extent.
        index: usize,
        /// Why.
        source: io::Error,
    },
}

impl Disk {
    /// A disk that can only be read: `extents` in their order.
    pub fn read_only(extents: Vec<Extent>) -> Result<Self, DiskError> {
        Extents::new(extents).map(Self::ReadOnly)
    }

    /// A disk that is a piece of one writable file.
    pub fn read_write(extent: Extent) -> Result<Self, DiskError> {
        let extent = extent.checked(0)?;
        Ok(Self::ReadWrite(Writable { extent }))
    }

    /// Length in bytes, a multiple of [`SECTOR`].
    pub fn len(&self) -> u64 {
        match self {
            Self::ReadOnly(extents) => extents.len(),
            Self::ReadWrite(disk) => disk.extent.len,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads `range` into the next bytes of `target`.
    pub(super) fn read(&self, range: Range<u64>, target: &mut Cursor<'_>) -> io::Result<()> {
        match self {
            Self::ReadOnly(extents) => extents.read(range, target),
            Self::ReadWrite(disk) => disk.read(range, target),
        }
    }

    /// The writable disk, if this is one.
    pub(super) fn writable(&self) -> Option<&Writable> {
        match self {
            Self::ReadOnly(_) => None,
            Self::ReadWrite(disk) => Some(disk),
        }
    }
}

/// One file, written in place. What was written survives a crash of the host once it is flushed.
#[derive(Debug)]
pub struct Writable {
    extent: Extent,
}

impl Writable {
    fn read(&self, range: Range<u64>, target: &mut Cursor<'_>) -> io::Result<()> {
        let slices = target
            .slices(range.end - range.start)
            .map_err(io::Error::other)?;
        guest_io::read_into(&self.extent.file, self.extent.offset + range.start, &slices)
    }

    /// Writes the next bytes of `source` to `range`.
    pub(super) fn write(&self, range: Range<u64>, source: &mut Cursor<'_>) -> io::Result<()> {
        let slices = source
            .slices(range.end - range.start)
            .map_err(io::Error::other)?;
        guest_io::write_from(&self.extent.file, self.extent.offset + range.start, &slices)
    }

    /// Makes what was written survive.
    pub(super) fn flush(&self) -> io::Result<()> {
        Ok(rustix::io::retry_on_intr(|| {
            rustix::fs::fdatasync(&self.extent.file)
        })?)
    }

    /// Gives the space of `range` back to the host. It reads as zeros afterwards.
    pub(super) fn discard(&self, range: Range<u64>) -> io::Result<()> {
        self.fallocate(FallocateFlags::PUNCH_HOLE, range)
    }

    /// Fills `range` with zeros and keeps its space.
    pub(super) fn write_zeroes(&self, range: Range<u64>) -> io::Result<()> {
        match self.fallocate(FallocateFlags::ZERO_RANGE, range.clone()) {
            // tmpfs knows only holes.
            Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {
                self.discard(range)
            }
            done => done,
        }
    }

    fn fallocate(&self, how: FallocateFlags, range: Range<u64>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let how = how | FallocateFlags::KEEP_SIZE;
        let (start, len) = (self.extent.offset + range.start, range.end - range.start);
        let file: &File = &self.extent.file;
        Ok(rustix::io::retry_on_intr(|| {
            rustix::fs::fallocate(file, how, start, len)
        })?)
    }
}
