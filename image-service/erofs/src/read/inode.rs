//! Inodes, their attributes and their data.

use super::{ImageReader, ReadError};
use crate::BLOCK_SIZE;
use crate::format::inode::{DataLayout, INODE_SIZE, RawInode, SLOT_SIZE, TypeBits, decode_rdev};
use crate::format::xattr::{self, Xattrs};
use crate::read_at::ReadAt;

/// An inode and where it was found.
#[derive(Debug, Clone)]
pub(crate) struct Inode {
    pub(crate) nid: u64,
    pub(crate) raw: RawInode,
    /// Byte offset in the blob.
    offset: u64,
}

impl Inode {
    /// Major and minor number; meaningful for devices only.
    pub(crate) fn device_number(&self) -> (u32, u32) {
        decode_rdev(self.raw.block_or_rdev)
    }

    /// Bytes of data that stand right behind the attributes.
    fn inline_bytes(&self) -> u64 {
        match self.raw.layout {
            DataLayout::Plain => 0,
            DataLayout::Inline => self.raw.size % BLOCK_SIZE,
        }
    }
}

impl<S: ReadAt> ImageReader<S> {
    pub(crate) fn root(&self) -> Result<Inode, ReadError> {
        let root = self.inode(u64::from(self.superblock.root_nid))?;
        match root.raw.type_bits {
            TypeBits::Directory => Ok(root),
            _ => Err(ReadError::Corrupt("has a root that is no directory")),
        }
    }

    pub(crate) fn inode(&self, nid: u64) -> Result<Inode, ReadError> {
        let start = u64::from(self.superblock.meta_block) * BLOCK_SIZE;
        let offset = nid
            .checked_mul(SLOT_SIZE)
            .and_then(|offset| offset.checked_add(start));
        let offset = offset.ok_or(ReadError::Corrupt(
            "has a directory entry that leads nowhere",
        ))?;
        let mut bytes = [0; INODE_SIZE];
        self.space.read_metadata(&mut bytes, offset)?;
        Ok(Inode {
            nid,
            raw: RawInode::decode(&bytes)?,
            offset,
        })
    }

    pub(crate) fn xattrs(&self, inode: &Inode) -> Result<Xattrs, ReadError> {
        let mut area = vec![0; inode.raw.xattr_bytes];
        self.space
            .read_metadata(&mut area, inode.offset + INODE_SIZE as u64)?;
        Ok(xattr::decode(&area)?)
    }

    /// Where a symbolic link leads.
    pub(crate) fn link_target(&self, inode: &Inode) -> Result<Vec<u8>, ReadError> {
        match usize::try_from(inode.raw.size) {
            Ok(size @ 1..=4095) if inode.raw.type_bits == TypeBits::Symlink => {
                self.inode_data(inode, size)
            }
            _ => Err(ReadError::Corrupt(
                "has a symbolic link of impossible length",
            )),
        }
    }

    /// The first `length` bytes of an inode's data.
    pub(super) fn inode_data(&self, inode: &Inode, length: usize) -> Result<Vec<u8>, ReadError> {
        if length as u64 > self.space.end() {
            return Err(ReadError::Corrupt("has a file larger than itself"));
        }
        let mut data = vec![0; length];
        let blocks = inode.raw.size - inode.inline_bytes();
        let split = usize::try_from(blocks).map_or(length, |blocks| blocks.min(length));
        let (whole, inline) = data.split_at_mut(split);
        if !whole.is_empty() {
            let start = u64::from(inode.raw.block_or_rdev) * BLOCK_SIZE;
            self.space.read_data(whole, start)?;
        }
        if !inline.is_empty() {
            self.read_inline(inode, inline)?;
        }
        Ok(data)
    }

    /// The data from `start`, a multiple of the block size, up to the end of that block or of the data.
    pub(super) fn data_block(&self, inode: &Inode, start: u64) -> Result<Vec<u8>, ReadError> {
        let length = (inode.raw.size - start).min(BLOCK_SIZE);
        let mut data = vec![0; usize::try_from(length).expect("at most a block")];
        if start + length > inode.raw.size - inode.inline_bytes() {
            self.read_inline(inode, &mut data)?;
        } else {
            let block = u64::from(inode.raw.block_or_rdev) * BLOCK_SIZE;
            let offset = block.checked_add(start);
            let offset = offset.ok_or(ReadError::Corrupt("has an impossible directory"))?;
            self.space.read_metadata(&mut data, offset)?;
        }
        Ok(data)
    }

    fn read_inline(&self, inode: &Inode, data: &mut [u8]) -> Result<(), ReadError> {
        let start = inode.offset + (INODE_SIZE + inode.raw.xattr_bytes) as u64;
        // No kernel would read it either.
        if start % BLOCK_SIZE + data.len() as u64 > BLOCK_SIZE {
            return Err(ReadError::Corrupt(
                "has inline data across a block boundary",
            ));
        }
        self.space.read_metadata(data, start)
    }
}
