//! The subset of EROFS we write: blocks of 4 KiB, extended inodes, plain and inline data, no compression.
//!
//! Every kernel since 5.4 mounts it. All numbers on disk are little-endian.

pub(crate) mod dirent;
pub(crate) mod inode;
pub(crate) mod superblock;
pub(crate) mod xattr;

use crate::BLOCK_SIZE;

/// [`BLOCK_SIZE`] for lengths in memory.
pub(crate) const BLOCK: usize = 4096;
const _: () = assert!(BLOCK as u64 == BLOCK_SIZE);

/// A directory entry's name, as in `EROFS_NAME_LEN` and Linux' `NAME_MAX`.
pub(crate) const MAX_NAME: usize = 255;

/// What a blob says that it must not, or leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// The number of blocks that hold `bytes`.
pub(crate) fn blocks_for(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_SIZE)
}

/// Little-endian fields at fixed offsets of a structure whose size is known.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    pub(crate) fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    pub(crate) fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    pub(crate) fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    pub(crate) fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let field = &self.0[at..at + N];
        field.try_into().expect("the slice was cut to N bytes")
    }
}

/// Writes `value` at `at`; the counterpart of [`Fields`].
pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}
