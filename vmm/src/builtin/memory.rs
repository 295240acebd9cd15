//! Guest memory as the VMM maps it.

use vm_memory::mmap::FromRangesError;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::layout;

/// Least memory that a stock kernel boots in, with our initramfs and no container yet.
pub(super) const MIN_MEMORY_MIB: u64 = 96;
/// Most memory, so that no address computation can overflow; guest-physical addresses end before it.
pub(super) const MAX_MEMORY_MIB: u64 = 1 << 24;

/// Guest memory can't be had.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// A size that makes no sense.
    #[error("memory_mib = {0} is not between {MIN_MEMORY_MIB} and {MAX_MEMORY_MIB}")]
    Size(u64),
    /// The host refused.
    #[error("map {memory_mib} MiB of guest memory")]
    Map {
        /// How much.
        memory_mib: u64,
        /// Why not.
        source: FromRangesError,
    },
}

/// Maps `memory_mib` of fresh memory, laid out as [`layout::ram_regions`] says.
///
/// Anonymous and private, so that the host may back it with huge pages, which it seldom does for
/// shared memory; no other process maps it. Pages are charged to the pod's cgroup when the guest first
/// touches them.
pub(super) fn map(memory_mib: u64) -> Result<GuestMemoryMmap, MemoryError> {
    if !(MIN_MEMORY_MIB..=MAX_MEMORY_MIB).contains(&memory_mib) {
        return Err(MemoryError::Size(memory_mib));
    }
    let regions: Vec<_> = layout::ram_regions(memory_mib << 20)
        .into_iter()
        .map(|range| {
            let len = usize::try_from(range.end - range.start).expect("addresses have 64 bits");
            (GuestAddress(range.start), len)
        })
        .collect();
    GuestMemoryMmap::from_ranges(&regions).map_err(|source| MemoryError::Map { memory_mib, source })
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestMemoryBackend};

    use super::*;

    #[test]
    fn memory_is_there_where_the_layout_says_and_zero() {
        let memory = map(3 * 1024 + 128).unwrap();
        for address in [0, (3 << 30) - 8, 4 << 30, (4 << 30) + (128 << 20) - 8] {
            assert_eq!(memory.read_obj::<u64>(GuestAddress(address)).unwrap(), 0);
        }
        assert!(!memory.address_in_range(GuestAddress(3 << 30)));
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        for size in [0, 95, MAX_MEMORY_MIB + 1, u64::MAX] {
            assert!(matches!(map(size), Err(MemoryError::Size(refused)) if refused == size));
        }
    }
}
