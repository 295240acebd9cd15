//! The 64-byte extended inode.

use super::{Fields, Malformed, put};

/// Bytes of an extended inode.
pub(crate) const INODE_SIZE: usize = 64;
/// Inodes start at multiples of this; a node id counts them.
pub(crate) const SLOT_SIZE: u64 = 32;

const S_IFMT: u16 = 0o170_000;
const EXTENDED: u16 = 1;

/// `S_IFMT` values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum TypeBits {
    Fifo = 0o010_000,
    CharDevice = 0o020_000,
    Directory = 0o040_000,
    BlockDevice = 0o060_000,
    Regular = 0o100_000,
    Symlink = 0o120_000,
    Socket = 0o140_000,
}

impl TypeBits {
    /// The type in a directory entry.
    pub(crate) fn dirent_type(self) -> u8 {
        match self {
            Self::Regular => 1,
            Self::Directory => 2,
            Self::CharDevice => 3,
            Self::BlockDevice => 4,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::Symlink => 7,
        }
    }

    fn of(mode: u16) -> Option<Self> {
        [
            Self::Fifo,
            Self::CharDevice,
            Self::Directory,
            Self::BlockDevice,
            Self::Regular,
            Self::Symlink,
            Self::Socket,
        ]
        .into_iter()
        .find(|bits| *bits as u16 == mode & S_IFMT)
    }
}

/// Where an inode's data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataLayout {
    /// In consecutive blocks.
    Plain,
    /// Whole blocks as in `Plain`, the rest right behind the inode and its attributes.
    Inline,
}

/// An inode as it stands on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawInode {
    pub(crate) layout: DataLayout,
    pub(crate) type_bits: TypeBits,
    /// Permissions, setuid, setgid, sticky.
    pub(crate) mode: u16,
    /// Bytes of the attribute area behind the inode: 0, or 12 and a multiple of 4.
    pub(crate) xattr_bytes: usize,
    pub(crate) size: u64,
    /// First block of the data, or the device number.
    pub(crate) block_or_rdev: u32,
    pub(crate) ino: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) mtime_nsec: u32,
    pub(crate) nlink: u32,
}

impl RawInode {
    pub(crate) fn encode(&self) -> [u8; INODE_SIZE] {
        let mut bytes = [0; INODE_SIZE];
        let layout = match self.layout {
            DataLayout::Plain => 0,
            DataLayout::Inline => 2,
        };
        put(&mut bytes, 0, (EXTENDED | layout << 1).to_le_bytes());
        put(&mut bytes, 2, xattr_count(self.xattr_bytes).to_le_bytes());
        put(
            &mut bytes,
            4,
            (self.type_bits as u16 | self.mode).to_le_bytes(),
        );
        put(&mut bytes, 8, self.size.to_le_bytes());
        put(&mut bytes, 16, self.block_or_rdev.to_le_bytes());
        put(&mut bytes, 20, self.ino.to_le_bytes());
        put(&mut bytes, 24, self.uid.to_le_bytes());
        put(&mut bytes, 28, self.gid.to_le_bytes());
        put(&mut bytes, 32, self.mtime.to_le_bytes());
        put(&mut bytes, 40, self.mtime_nsec.to_le_bytes());
        put(&mut bytes, 44, self.nlink.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; INODE_SIZE]) -> Result<Self, Malformed> {
        let inode = Fields(bytes);
        let layout = match inode.u16(0) {
            0b001 => DataLayout::Plain,
            0b101 => DataLayout::Inline,
            _ => return Err(Malformed("has an inode of a layout we never write")),
        };
        let mode = inode.u16(4);
        let type_bits = TypeBits::of(mode).ok_or(Malformed("has an inode of no known type"))?;
        let mtime_nsec = inode.u32(40);
        if mtime_nsec >= 1_000_000_000 {
            return Err(Malformed(
                "has an inode with more than a second of nanoseconds",
            ));
        }
        Ok(Self {
            layout,
            type_bits,
            mode: mode & !S_IFMT,
            xattr_bytes: match usize::from(inode.u16(2)) {
                0 => 0,
                count => 12 + 4 * (count - 1),
            },
            size: inode.u64(8),
            block_or_rdev: inode.u32(16),
            ino: inode.u32(20),
            uid: inode.u32(24),
            gid: inode.u32(28),
            mtime: inode.u64(32).cast_signed(),
            mtime_nsec,
            nlink: inode.u32(44),
        })
    }
}

/// `i_xattr_icount`: the header counts as one, each 4 bytes after it as one more.
fn xattr_count(bytes: usize) -> u16 {
    match bytes {
        0 => 0,
        _ => u16::try_from((bytes - 12) / 4 + 1).expect("attributes are bounded when collected"),
    }
}

/// Linux' `new_encode_dev`.
pub(crate) fn encode_rdev(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// Linux' `new_decode_dev`: major, minor.
pub(crate) fn decode_rdev(rdev: u32) -> (u32, u32) {
    (
        (rdev >> 8) & 0xfff,
        (rdev & 0xff) | ((rdev >> 12) & 0xf_ff00),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_reads_back() {
        let inode = RawInode {
            layout: DataLayout::Inline,
            type_bits: TypeBits::Symlink,
            mode: 0o7777,
            xattr_bytes: 40,
            size: u64::MAX,
            block_or_rdev: 5,
            ino: 6,
            uid: u32::MAX,
            gid: 3_000_000,
            mtime: -2,
            mtime_nsec: 999_999_999,
            nlink: 2,
        };
        assert_eq!(RawInode::decode(&inode.encode()), Ok(inode));
    }

    #[test]
    fn device_numbers_use_the_kernels_split() {
        for (major, minor) in [(0, 0), (1, 3), (0xfff, 0xf_ffff), (8, 256)] {
            assert_eq!(decode_rdev(encode_rdev(major, minor)), (major, minor));
        }
        assert_eq!(encode_rdev(1, 3), 0x103);
        assert_eq!(encode_rdev(8, 256), 0x0010_0800);
    }
}
