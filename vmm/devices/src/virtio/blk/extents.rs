//! A read-only disk that is the concatenation of pieces of files, such as an image's metadata and
//! layers.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::disk::{DiskError, SECTOR};
use super::guest_io;
use crate::virtio::chain::Cursor;

/// A piece of a file. Offset and length are multiples of [`SECTOR`].
#[derive(Clone, Debug)]
pub struct Extent {
    /// The file.
    pub file: Arc<File>,
    /// First byte of it.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
}

impl Extent {
    /// This extent, the `index`th of a disk, if its file holds it.
    pub(super) fn checked(self, index: usize) -> Result<Self, DiskError> {
        let whole = self.offset.is_multiple_of(SECTOR) && self.len.is_multiple_of(SECTOR);
        if !whole || self.len == 0 {
            return Err(DiskError::Sectors(index));
        }
        let end = self
            .offset
            .checked_add(self.len)
            .ok_or(DiskError::TooLong)?;
        let metadata = self.file.metadata();
        let len = metadata
            .map_err(|source| DiskError::Examine { index, source })?
            .len();
        if end > len {
            return Err(DiskError::BeyondEnd { index, end, len });
        }
        Ok(self)
    }
}

/// Extents and where each begins in the disk.
#[derive(Debug)]
pub struct Extents {
    extents: Vec<Extent>,
    starts: Vec<u64>,
    len: u64,
}

impl Extents {
    pub(super) fn new(extents: Vec<Extent>) -> Result<Self, DiskError> {
        let mut disk = Self {
            extents: Vec::with_capacity(extents.len()),
            starts: Vec::with_capacity(extents.len()),
            len: 0,
        };
        for (index, extent) in extents.into_iter().enumerate() {
            let extent = extent.checked(index)?;
            disk.starts.push(disk.len);
            disk.len = disk.len.checked_add(extent.len).ok_or(DiskError::TooLong)?;
            disk.extents.push(extent);
        }
        if disk.extents.is_empty() {
            return Err(DiskError::Empty);
        }
        Ok(disk)
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Reads `range`, which lies in the disk, extent by extent.
    pub(super) fn read(&self, range: Range<u64>, target: &mut Cursor<'_>) -> io::Result<()> {
        let mut at = range.start;
        while at < range.end {
            let index = self.starts.partition_point(|start| *start <= at) - 1;
            let (extent, start) = (&self.extents[index], self.starts[index]);
            let end = range.end.min(start + extent.len);
            let slices = target.slices(end - at).map_err(io::Error::other)?;
            guest_io::read_into(&extent.file, extent.offset + (at - start), &slices)?;
            at = end;
        }
        Ok(())
    }
}
