//! Guest memory as the VMM maps it.
#![expect(unsafe_code, reason = "madvise(2) takes an address")]
// UNSAFETY: a raw address range is given to the kernel, which may change what backs it.

use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use vm_memory::mmap::FromRangesError;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_api::MemorySharing;

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
    /// The host gives no memory that can be shared.
    #[error("make {memory_mib} MiB of memory that can be shared")]
    Make {
        /// How much.
        memory_mib: u64,
        /// Why not.
        source: io::Error,
    },
}

/// Maps `memory_mib` of fresh memory, laid out as [`layout::ram_regions`] says.
///
/// It is in huge pages where the host allows that: for private memory, which is anonymous, mostly, for memory
/// that others can map if `shmem_enabled` says so (`Documentation/admin-guide/mm/transhuge.rst`). Pages are
/// charged to the pod's cgroup when they are first touched.
pub(super) fn map(memory_mib: u64, sharing: MemorySharing) -> Result<GuestMemoryMmap, MemoryError> {
    if !(MIN_MEMORY_MIB..=MAX_MEMORY_MIB).contains(&memory_mib) {
        return Err(MemoryError::Size(memory_mib));
    }
    let make = |source| MemoryError::Make { memory_mib, source };
    let file = match sharing {
        MemorySharing::Private => None,
        MemorySharing::Shared => Some(Arc::new(memory_file(memory_mib << 20).map_err(make)?)),
    };
    let mut offset = 0;
    let regions: Vec<_> = layout::ram_regions(memory_mib << 20)
        .into_iter()
        .map(|range| {
            let len = range.end - range.start;
            let file = file.clone().map(|file| FileOffset::from_arc(file, offset));
            offset += len;
            let len = usize::try_from(len).expect("addresses have 64 bits");
            (GuestAddress(range.start), len, file)
        })
        .collect();
    let memory = GuestMemoryMmap::from_ranges_with_files(&regions)
        .map_err(|source| MemoryError::Map { memory_mib, source })?;
    ask_for_huge_pages(&memory);
    Ok(memory)
}

/// A guest that finds its memory in small pages stops twenty thousand times while it boots, and ever after the
/// CPU looks its addresses up more often.
fn ask_for_huge_pages(memory: &GuestMemoryMmap) {
    for region in memory.iter() {
        let len = usize::try_from(region.len()).expect("addresses have 64 bits");
        // SAFETY: the range is one mapping of ours, and the advice changes nothing of what is in it.
        let refused = unsafe { libc::madvise(region.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
        if refused != 0 {
            let error = io::Error::last_os_error();
            tracing::debug!(%error, "guest memory stays in small pages");
        }
    }
}

/// Memory with a descriptor, of a size that nobody can change: whoever gets it could otherwise take
/// pages away under the guest.
fn memory_file(bytes: u64) -> io::Result<File> {
    let file = memfd_create(
        "guest memory",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?;
    ftruncate(&file, bytes)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryRegion};

    use super::*;

    #[test]
    fn memory_is_there_where_the_layout_says_and_zero() {
        for sharing in [MemorySharing::Private, MemorySharing::Shared] {
            let memory = map(3 * 1024 + 128, sharing).unwrap();
            for address in [0, (3 << 30) - 8, 4 << 30, (4 << 30) + (128 << 20) - 8] {
                assert_eq!(memory.read_obj::<u64>(GuestAddress(address)).unwrap(), 0);
            }
            assert!(!memory.address_in_range(GuestAddress(3 << 30)));
        }
    }

    #[test]
    fn whoever_gets_shared_memory_sees_what_the_guest_writes_and_can_not_take_it_away() {
        let memory = map(3 * 1024 + 128, MemorySharing::Shared).unwrap();
        memory.write_obj(7u8, GuestAddress(4 << 30)).unwrap();
        let (region, _) = memory.to_region_addr(GuestAddress(4 << 30)).unwrap();
        let file = region.file_offset().unwrap();
        let mut byte = [0];
        rustix::io::pread(file.file(), &mut byte, file.start()).unwrap();
        assert_eq!(byte, [7]);
        assert!(ftruncate(file.file(), 0).is_err());
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        for size in [0, 95, MAX_MEMORY_MIB + 1, u64::MAX] {
            assert!(
                matches!(map(size, MemorySharing::Private), Err(MemoryError::Size(refused)) if refused == size)
            );
        }
    }
}
