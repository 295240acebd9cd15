//! A made-up kernel, placed and described.

use std::io::Write;

use super::*;
use crate::builtin::memory;

const ENTRY: u32 = 0x100_0a30;
const LOADED_AT: u64 = 0x100_0000;

/// Offset of the code in the file, behind the ELF header and two program headers.
const CODE_AT: usize = 64 + 2 * 56;

/// An ELF file with one segment to load and a note, which says where to enter if `pvh`.
fn elf(code: &[u8], in_memory: u64, pvh: bool) -> File {
    let mut note = Vec::new();
    for word in [4, 4, if pvh { 18 } else { 17 }] {
        note.extend_from_slice(&u32::to_le_bytes(word));
    }
    note.extend_from_slice(b"Xen\0");
    note.extend_from_slice(&ENTRY.to_le_bytes());

    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [LOADED_AT, 64, 0] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(b"\0\0\0\0\x40\0\x38\0\x02\0\x40\0\0\0\0\0");
    let header = |kind: u32, offset: usize, file: usize, memory: u64| {
        let mut header = [kind.to_le_bytes(), 7u32.to_le_bytes()].concat();
        for word in [offset as u64, LOADED_AT, LOADED_AT, file as u64, memory, 4] {
            header.extend_from_slice(&word.to_le_bytes());
        }
        header
    };
    bytes.extend(header(1, CODE_AT, code.len(), in_memory));
    bytes.extend(header(
        4,
        CODE_AT + code.len(),
        note.len(),
        note.len() as u64,
    ));
    bytes.extend_from_slice(code);
    bytes.extend_from_slice(&note);
    file(&bytes)
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn memory_of(mib: u64) -> GuestMemoryMmap {
    memory::map(mib, vmm_api::MemorySharing::Private).unwrap()
}

#[test]
fn kernel_initramfs_and_command_line_lie_where_the_start_info_says() {
    let memory = memory_of(128);
    let initramfs = vec![7; 5000];
    let loaded = load(
        &memory,
        &mut elf(b"code", 0x1000, true),
        &file(&initramfs),
        "quiet",
    )
    .unwrap();
    assert_eq!(loaded.entry.0, u64::from(ENTRY));
    let [kernel, module] = loaded.filled;
    assert!(kernel.contains(&LOADED_AT) && kernel.end < module.start);
    assert_eq!(module.end - module.start, 5000);
    let code: [u8; 4] = memory.read_obj(GuestAddress(LOADED_AT)).unwrap();
    assert_eq!(&code, b"code");

    let start: hvm_start_info = memory.read_obj(GuestAddress(layout::START_INFO)).unwrap();
    assert_eq!((start.magic, start.version), (XEN_HVM_START_MAGIC_VALUE, 1));
    assert_eq!(start.rsdp_paddr, layout::ACPI.start);
    let cmdline: [u8; 6] = memory.read_obj(GuestAddress(start.cmdline_paddr)).unwrap();
    assert_eq!(&cmdline, b"quiet\0");

    assert_eq!(start.nr_modules, 1);
    let module: hvm_modlist_entry = memory.read_obj(GuestAddress(start.modlist_paddr)).unwrap();
    assert_eq!((module.size, module.paddr), (5000, (128 << 20) - 8192));
    let mut copy = vec![0; 5000];
    memory
        .read_slice(&mut copy, GuestAddress(module.paddr))
        .unwrap();
    assert_eq!(copy, initramfs);
}

#[test]
fn the_memory_map_covers_all_ram_and_no_device() {
    let memory = memory_of(4096);
    let map = memory_map(&memory);
    let ram: u64 = map
        .iter()
        .filter(|entry| entry.type_ == XEN_HVM_MEMMAP_TYPE_RAM)
        .map(|entry| entry.size)
        .sum();
    let low = layout::HIGH_RAM - layout::LEGACY_HOLE.start;
    assert_eq!(ram, (4096 << 20) - low);
    let mut by_address = map.clone();
    by_address.sort_by_key(|entry| entry.addr);
    for pair in by_address.windows(2) {
        assert!(pair[0].addr + pair[0].size <= pair[1].addr);
    }
    let ram_in_gap = map.iter().any(|entry| {
        entry.type_ == XEN_HVM_MEMMAP_TYPE_RAM
            && entry.addr < layout::DEVICE_GAP.end
            && entry.addr + entry.size > layout::DEVICE_GAP.start
    });
    assert!(!ram_in_gap);
}

#[track_caller]
fn check_refused(kernel: &mut File, initramfs: &File, cmdline: &str, expected: &str) {
    let error = load(&memory_of(128), kernel, initramfs, cmdline).unwrap_err();
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn a_kernel_without_a_pvh_entry_is_refused() {
    check_refused(&mut elf(b"code", 4, false), &file(b""), "", "no PVH entry");
}

#[test]
fn what_is_no_kernel_is_refused() {
    check_refused(
        &mut file(b"#!/bin/sh\n"),
        &file(b""),
        "",
        "load the guest kernel",
    );
    check_refused(&mut file(b""), &file(b""), "", "load the guest kernel");
}

#[test]
fn an_initramfs_that_does_not_fit_is_refused() {
    let huge = tempfile::tempfile().unwrap();
    huge.set_len(200 << 20).unwrap();
    check_refused(&mut elf(b"code", 4, true), &huge, "", "does not fit");
    let large = tempfile::tempfile().unwrap();
    large.set_len(60 << 20).unwrap();
    let mut kernel = elf(b"code", 80 << 20, true);
    check_refused(&mut kernel, &large, "", "does not fit");
}

#[test]
fn a_command_line_that_the_kernel_would_cut_is_refused() {
    let long = "x".repeat(layout::CMDLINE_LIMIT + 1);
    check_refused(
        &mut elf(b"code", 4, true),
        &file(b""),
        &long,
        "over 2047 bytes",
    );
    check_refused(&mut elf(b"code", 4, true), &file(b""), "a\0b", "zero byte");
}
