//! The superblock at byte 1024 and the device table right behind it.

use std::ops::RangeInclusive;

use super::{BLOCK, Fields, Malformed, blocks_for, put};
use crate::{BLOCK_SIZE, CONVERTER_VERSION, ImageUuid};

const OFFSET: usize = 1024;
const SIZE: usize = 128;
const MAGIC: u32 = 0xe0f5_e1e2;
const BLOCK_BITS: u8 = 12;
const COMPAT_CHECKSUM: u32 = 0x1;
const COMPAT_MTIME: u32 = 0x2;
const INCOMPAT_DEVICE_TABLE: u32 = 0x8;

/// Device slots are numbered in units of their own size from the start of the file.
const SLOT_SIZE: usize = 128;
const TABLE_OFFSET: usize = OFFSET + SIZE;
const TABLE_SLOT: u16 = 9;
const _: () = assert!(TABLE_SLOT as usize * SLOT_SIZE == TABLE_OFFSET);

/// What a blob is for; written into the volume name together with our version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlobKind {
    Layer,
    Image,
}

/// Another file whose blocks this file system addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device {
    /// First block in the common address space.
    pub(crate) base: u32,
    pub(crate) blocks: u32,
}

/// Everything block 0 says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) kind: BlobKind,
    pub(crate) uuid: ImageUuid,
    /// Blocks of this file; of the whole disk where `devices` is empty.
    pub(crate) blocks: u32,
    /// First block of the inodes.
    pub(crate) meta_block: u32,
    pub(crate) root_nid: u16,
    pub(crate) inodes: u64,
    pub(crate) devices: Vec<Device>,
}

/// Blocks that the superblock and a table of `devices` slots take.
pub(crate) fn header_blocks(devices: usize) -> u64 {
    blocks_for((TABLE_OFFSET + devices * SLOT_SIZE) as u64)
}

impl Superblock {
    /// The header blocks as they stand on disk.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let header = header_blocks(self.devices.len()) * BLOCK_SIZE;
        let mut bytes = vec![0; usize::try_from(header).expect("a table is at most 8 MiB")];
        self.encode_fields(&mut bytes[OFFSET..OFFSET + SIZE]);
        for (slot, device) in bytes[TABLE_OFFSET..]
            .chunks_exact_mut(SLOT_SIZE)
            .zip(&self.devices)
        {
            put(slot, 64, device.blocks.to_le_bytes());
            put(slot, 68, device.base.to_le_bytes());
        }
        // The kernel's crc32c is not inverted at the end, the crate's is.
        let checksum = !crc32c::crc32c(&bytes[OFFSET..BLOCK]);
        put(&mut bytes, OFFSET + 4, checksum.to_le_bytes());
        bytes
    }

    fn encode_fields(&self, sb: &mut [u8]) {
        put(sb, 0, MAGIC.to_le_bytes());
        put(sb, 8, (COMPAT_CHECKSUM | COMPAT_MTIME).to_le_bytes());
        sb[12] = BLOCK_BITS;
        put(sb, 14, self.root_nid.to_le_bytes());
        put(sb, 16, self.inodes.to_le_bytes());
        put(sb, 36, self.blocks.to_le_bytes());
        put(sb, 40, self.meta_block.to_le_bytes());
        put(sb, 48, *self.uuid.as_bytes());
        put(sb, 64, volume_name(self.kind, CONVERTER_VERSION));
        if !self.devices.is_empty() {
            let slots =
                u16::try_from(self.devices.len()).expect("checked when layers were counted");
            put(sb, 80, INCOMPAT_DEVICE_TABLE.to_le_bytes());
            put(sb, 86, slots.to_le_bytes());
            put(sb, 88, TABLE_SLOT.to_le_bytes());
        }
    }

    /// Slots in the table that `first_block` announces: how much a reader must fetch for [`Self::decode`].
    pub(crate) fn device_count(first_block: &[u8; BLOCK]) -> usize {
        let sb = Fields(&first_block[OFFSET..]);
        if sb.u32(80) & INCOMPAT_DEVICE_TABLE == 0 {
            0
        } else {
            usize::from(sb.u16(86))
        }
    }

    /// Reads what [`Self::encode`] wrote; `header` holds the blocks of superblock and table.
    pub(crate) fn decode(header: &[u8]) -> Result<Self, Malformed> {
        let first: &[u8; BLOCK] = header
            .first_chunk()
            .ok_or(Malformed("is too short for a superblock"))?;
        let sb = Fields(&first[OFFSET..]);
        if sb.u32(0) != MAGIC {
            return Err(Malformed("is not an EROFS file system"));
        }
        check_sum(first)?;
        if first[OFFSET + 12] != BLOCK_BITS || sb.u32(80) & !INCOMPAT_DEVICE_TABLE != 0 {
            return Err(Malformed("uses EROFS features we never write"));
        }
        let slots = Self::device_count(first);
        if slots > 0 && sb.u16(88) != TABLE_SLOT {
            return Err(Malformed("has its device table elsewhere"));
        }
        let table = header
            .get(TABLE_OFFSET..TABLE_OFFSET + slots * SLOT_SIZE)
            .ok_or(Malformed("has a truncated device table"))?;
        Ok(Self {
            kind: blob_kind(sb.array(64))?,
            uuid: ImageUuid::from_bytes(sb.array(48)),
            blocks: sb.u32(36),
            meta_block: sb.u32(40),
            root_nid: sb.u16(14),
            inodes: sb.u64(16),
            devices: table.chunks_exact(SLOT_SIZE).map(device).collect(),
        })
    }
}

fn device(slot: &[u8]) -> Device {
    let slot = Fields(slot);
    Device {
        base: slot.u32(68),
        blocks: slot.u32(64),
    }
}

fn check_sum(first: &[u8; BLOCK]) -> Result<(), Malformed> {
    let mut covered = first[OFFSET..].to_vec();
    let stored = Fields(&covered).u32(4);
    put(&mut covered, 4, [0; 4]);
    if stored == !crc32c::crc32c(&covered) {
        Ok(())
    } else {
        Err(Malformed("has a wrong superblock checksum"))
    }
}

fn volume_name(kind: BlobKind, version: u32) -> [u8; 16] {
    let text = match kind {
        BlobKind::Layer => format!("bh-layer/{version}"),
        BlobKind::Image => format!("bh-image/{version}"),
    };
    let mut name = [0; 16];
    name[..text.len()].copy_from_slice(text.as_bytes());
    name
}

/// Versions of the converter whose blobs are laid out as ours: they differ in what they made of a tar.
const READABLE: RangeInclusive<u32> = 1..=CONVERTER_VERSION;

fn blob_kind(name: [u8; 16]) -> Result<BlobKind, Malformed> {
    let is_of = |kind: &BlobKind| {
        READABLE
            .clone()
            .any(|version| volume_name(*kind, version) == name)
    };
    [BlobKind::Layer, BlobKind::Image]
        .into_iter()
        .find(is_of)
        .ok_or(Malformed(
            "was not written by this version of the converter",
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(devices: u32) -> Superblock {
        Superblock {
            kind: BlobKind::Image,
            uuid: ImageUuid::from_sha256(&[7; 32]),
            blocks: 12,
            meta_block: 3,
            root_nid: 2,
            inodes: 99,
            devices: (0..devices)
                .map(|base| Device { base, blocks: 1 })
                .collect(),
        }
    }

    #[test]
    fn header_reads_back_with_a_table_larger_than_a_block() {
        for devices in [0, 1, 23, 24, 500] {
            let encoded = superblock(devices).encode();
            assert_eq!(
                encoded.len() as u64,
                header_blocks(devices as usize) * BLOCK_SIZE
            );
            assert_eq!(Superblock::decode(&encoded), Ok(superblock(devices)));
        }
    }

    #[test]
    fn what_an_older_converter_wrote_is_read_and_what_a_newer_one_wrote_is_not() {
        let by = |version| {
            let mut encoded = superblock(0).encode();
            put(
                &mut encoded,
                OFFSET + 64,
                volume_name(BlobKind::Image, version),
            );
            put(&mut encoded, OFFSET + 4, [0; 4]);
            let checksum = !crc32c::crc32c(&encoded[OFFSET..BLOCK]);
            put(&mut encoded, OFFSET + 4, checksum.to_le_bytes());
            Superblock::decode(&encoded)
        };
        assert_eq!(by(1), Ok(superblock(0)));
        assert!(by(CONVERTER_VERSION + 1).is_err());
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let mut encoded = superblock(2).encode();
        encoded[OFFSET + 36] ^= 1;
        assert!(Superblock::decode(&encoded).is_err());
    }
}
