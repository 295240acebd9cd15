//! The kernel, its initramfs and what they are told, placed in guest memory as the PVH protocol wants it.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use linux_loader::loader::elf::start_info::{
    XEN_HVM_MEMMAP_TYPE_ACPI, XEN_HVM_MEMMAP_TYPE_RAM, XEN_HVM_MEMMAP_TYPE_RESERVED,
    XEN_HVM_START_MAGIC_VALUE, hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use linux_loader::loader::elf::{Elf, PvhBootCapability};
use linux_loader::loader::{KernelLoader, KernelLoaderResult};
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryMmap, GuestMemoryRegion,
};

use super::layout;

const PAGE: u64 = 4096;

/// The kernel can't be placed.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// It is no ELF file, or does not fit.
    #[error("load the guest kernel")]
    Load(#[source] linux_loader::loader::Error),
    /// It can't be entered the way we enter kernels.
    #[error("guest kernel has no PVH entry (CONFIG_PVH)")]
    NoPvhEntry,
    /// The initramfs can't be read.
    #[error("read the initramfs")]
    ReadInitramfs(#[source] std::io::Error),
    /// Kernel and initramfs don't both fit.
    #[error(
        "initramfs of {initramfs} bytes does not fit beside the kernel, which ends at {kernel_end:#x}"
    )]
    NoRoom {
        /// Size of the initramfs.
        initramfs: u64,
        /// Where the kernel ends.
        kernel_end: u64,
    },
    /// The command line is too long, or has a zero byte in it.
    #[error("cmdline of {0} bytes is over {limit} bytes, or has a zero byte", limit = layout::CMDLINE_LIMIT)]
    Cmdline(usize),
    /// A boot structure lies outside guest memory.
    #[error("write the boot parameters")]
    Write(#[source] GuestMemoryError),
}

/// What lies in guest memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loaded {
    /// Where the first vCPU enters the kernel.
    pub(super) entry: GuestAddress,
    /// The kernel, with the memory that it has zero at first, and the initramfs.
    pub(super) filled: [Range<u64>; 2],
}

/// Places everything.
pub(super) fn load(
    memory: &GuestMemoryMmap,
    kernel: &mut File,
    initramfs: &File,
    cmdline: &str,
) -> Result<Loaded, KernelError> {
    let loaded = Elf::load(memory, None, kernel, Some(GuestAddress(layout::HIGH_RAM)))
        .map_err(KernelError::Load)?;
    let module = load_initramfs(memory, initramfs, loaded.kernel_end)?;
    let filled = [
        loaded.kernel_load.0..loaded.kernel_end,
        module.paddr..module.paddr + module.size,
    ];
    write_cmdline(memory, cmdline)?;
    write_start_info(memory, module).map_err(KernelError::Write)?;
    Ok(Loaded {
        entry: entry(&loaded)?,
        filled,
    })
}

fn entry(loaded: &KernelLoaderResult) -> Result<GuestAddress, KernelError> {
    match loaded.pvh_boot_cap {
        PvhBootCapability::PvhEntryPresent(address) => Ok(address),
        _ => Err(KernelError::NoPvhEntry),
    }
}

/// Puts the initramfs at the end of low memory, out of the way of what the kernel allocates early.
fn load_initramfs(
    memory: &GuestMemoryMmap,
    initramfs: &File,
    kernel_end: u64,
) -> Result<hvm_modlist_entry, KernelError> {
    let size = initramfs
        .metadata()
        .map_err(KernelError::ReadInitramfs)?
        .len();
    let paddr = low_memory_end(memory)
        .checked_sub(size)
        .map(|address| address / PAGE * PAGE)
        .filter(|address| *address >= kernel_end)
        .ok_or(KernelError::NoRoom {
            initramfs: size,
            kernel_end,
        })?;
    copy(memory, paddr, initramfs, size)?;
    Ok(hvm_modlist_entry {
        paddr,
        size,
        ..Default::default()
    })
}

fn copy(memory: &GuestMemoryMmap, to: u64, from: &File, size: u64) -> Result<(), KernelError> {
    let mut chunk = vec![0; 1 << 20];
    let mut done = 0;
    while done < size {
        let len = usize::try_from((size - done).min(1 << 20)).expect("at most the chunk's length");
        let chunk = &mut chunk[..len];
        from.read_exact_at(chunk, done)
            .map_err(KernelError::ReadInitramfs)?;
        memory
            .write_slice(chunk, GuestAddress(to + done))
            .map_err(KernelError::Write)?;
        done += len as u64;
    }
    Ok(())
}

fn write_cmdline(memory: &GuestMemoryMmap, cmdline: &str) -> Result<(), KernelError> {
    if cmdline.len() > layout::CMDLINE_LIMIT || cmdline.contains('\0') {
        return Err(KernelError::Cmdline(cmdline.len()));
    }
    memory
        .write_slice(
            &[cmdline.as_bytes(), b"\0"].concat(),
            GuestAddress(layout::CMDLINE),
        )
        .map_err(KernelError::Write)
}

fn write_start_info(
    memory: &GuestMemoryMmap,
    module: hvm_modlist_entry,
) -> Result<(), GuestMemoryError> {
    let map = memory_map(memory);
    let start_info = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        // The first version that has a memory map.
        version: 1,
        nr_modules: 1,
        modlist_paddr: layout::MODULE_LIST,
        cmdline_paddr: layout::CMDLINE,
        rsdp_paddr: layout::ACPI.start,
        memmap_paddr: layout::MEMORY_MAP,
        memmap_entries: u32::try_from(map.len()).expect("a handful of entries"),
        ..Default::default()
    };
    memory.write_obj(start_info, GuestAddress(layout::START_INFO))?;
    memory.write_obj(module, GuestAddress(layout::MODULE_LIST))?;
    let mut address = GuestAddress(layout::MEMORY_MAP);
    for entry in map {
        memory.write_obj(entry, address)?;
        address.0 += size_of::<hvm_memmap_table_entry>() as u64;
    }
    Ok(())
}

/// What the kernel may use as RAM, and what it must leave alone.
fn memory_map(memory: &GuestMemoryMmap) -> Vec<hvm_memmap_table_entry> {
    use layout::{ACPI, ECAM, HIGH_RAM, LEGACY_HOLE};
    let mut map = vec![
        entry_of(0, LEGACY_HOLE.start, XEN_HVM_MEMMAP_TYPE_RAM),
        entry_of(LEGACY_HOLE.start, ACPI.start, XEN_HVM_MEMMAP_TYPE_RESERVED),
        entry_of(ACPI.start, ACPI.end, XEN_HVM_MEMMAP_TYPE_ACPI),
        entry_of(ACPI.end, HIGH_RAM, XEN_HVM_MEMMAP_TYPE_RESERVED),
        entry_of(HIGH_RAM, low_memory_end(memory), XEN_HVM_MEMMAP_TYPE_RAM),
        // Linux trusts an ECAM only when it is reserved.
        entry_of(ECAM.start, ECAM.end, XEN_HVM_MEMMAP_TYPE_RESERVED),
    ];
    map.extend(memory.iter().skip(1).map(|region| {
        let start = region.start_addr().0;
        entry_of(start, start + region.len(), XEN_HVM_MEMMAP_TYPE_RAM)
    }));
    map
}

fn entry_of(start: u64, end: u64, type_: u32) -> hvm_memmap_table_entry {
    hvm_memmap_table_entry {
        addr: start,
        size: end - start,
        type_,
        reserved: 0,
    }
}

/// Where the RAM below the device gap ends. It is the first region, and begins at 0.
fn low_memory_end(memory: &GuestMemoryMmap) -> u64 {
    memory.iter().next().map_or(0, |region| region.len())
}

#[cfg(test)]
mod tests;
