//! Directories: all of their entries, or one of them.

use std::ops::ControlFlow;

use super::{ImageReader, Inode, ReadError};
use crate::BLOCK_SIZE;
use crate::format::dirent::{self, Dirent};
use crate::format::inode::TypeBits;
use crate::read_at::ReadAt;

impl<S: ReadAt> ImageReader<S> {
    /// The inode called `name` in `directory`.
    pub(super) fn child(&self, directory: &Inode, name: &[u8]) -> Result<Option<Inode>, ReadError> {
        let mut found = None;
        self.scan(directory, |entry| {
            if entry.name < name {
                return ControlFlow::Continue(());
            }
            found = (entry.name == name).then_some(entry.nid);
            ControlFlow::Break(())
        })?;
        found.map(|nid| self.inode(nid)).transpose()
    }

    /// Shows every entry of `directory` but `.` and `..`, in bytewise order.
    pub(crate) fn scan(
        &self,
        directory: &Inode,
        mut visit: impl FnMut(&Dirent<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        if directory.raw.type_bits != TypeBits::Directory {
            return Err(ReadError::Corrupt(
                "has a directory entry of the wrong type",
            ));
        }
        let mut last = Vec::new();
        let mut start = 0;
        while start < directory.raw.size {
            let block = self.data_block(directory, start)?;
            for entry in dirent::decode_block(&block)? {
                // Also what keeps a lookup from being led astray: names are unique and in order.
                if entry.name <= last.as_slice() {
                    return Err(ReadError::Corrupt("has a directory out of order"));
                }
                last.clear();
                last.extend_from_slice(entry.name);
                if entry.name != b"." && entry.name != b".." && visit(&entry).is_break() {
                    return Ok(());
                }
            }
            start += BLOCK_SIZE;
        }
        Ok(())
    }
}
