//! What a disk tells its driver: features and configuration (virtio 1.2 §5.2.3, §5.2.4).

use super::disk::{Disk, SECTOR};

const F_SEG_MAX: u64 = 1 << 2;
const F_RO: u64 = 1 << 5;
const F_BLK_SIZE: u64 = 1 << 6;
const F_FLUSH: u64 = 1 << 9;
const F_TOPOLOGY: u64 = 1 << 10;
const F_DISCARD: u64 = 1 << 13;
const F_WRITE_ZEROES: u64 = 1 << 14;

/// Most ranges in one discard or write-zeroes request.
pub(super) const MAX_RANGES: u32 = 32;
/// Most sectors in one of them, 1 GiB, so that no request holds up the other devices for long.
pub(super) const MAX_RANGE_SECTORS: u32 = 1 << 21;

/// Blocks that files are made of. Smaller discards free nothing.
const BLOCK: u32 = 4096;

pub(super) fn features(disk: &Disk) -> u64 {
    let always = F_SEG_MAX | F_BLK_SIZE | F_TOPOLOGY;
    match disk {
        Disk::ReadOnly(_) => always | F_RO,
        Disk::ReadWrite(_) => always | F_FLUSH | F_DISCARD | F_WRITE_ZEROES,
    }
}

/// `struct virtio_blk_config`.
pub(super) fn bytes(disk: &Disk, queue_size: u16) -> Vec<u8> {
    let sector = u32::try_from(SECTOR).expect("a sector is small");
    let mut config = Vec::with_capacity(60);
    config.extend((disk.len() / SECTOR).to_le_bytes());
    config.extend(0u32.to_le_bytes()); // size_max
    // seg_max: a chain also has the request's header and its status.
    config.extend(u32::from(queue_size - 2).to_le_bytes());
    config.extend([0; 4]); // geometry
    config.extend(sector.to_le_bytes());
    config.extend([3, 0]); // topology: a block is 2^3 sectors, the first is aligned
    config.extend(1u16.to_le_bytes()); // min_io_size
    config.extend(0u32.to_le_bytes()); // opt_io_size
    config.extend([0, 0]); // writeback, unused
    config.extend(1u16.to_le_bytes()); // num_queues
    config.extend(MAX_RANGE_SECTORS.to_le_bytes());
    config.extend(MAX_RANGES.to_le_bytes());
    config.extend((BLOCK / sector).to_le_bytes());
    config.extend(MAX_RANGE_SECTORS.to_le_bytes());
    config.extend(MAX_RANGES.to_le_bytes());
    config.extend([1, 0, 0, 0]); // write_zeroes_may_unmap
    config
}
