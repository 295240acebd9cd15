//! The guest's address map: what lies where in memory, in port space and among the interrupts.
//!
//! ```text
//! 0x0000_0000  RAM   PVH start info, memory map, command line (below 640 KiB)
//! 0x000a_0000        legacy hole
//! 0x000e_0000  ACPI  tables, RSDP first; the VM generation id; the reset vector
//! 0x0010_0000  RAM   kernel where its ELF says, initramfs at the end of low memory
//! 0xc000_0000        BARs of PCI devices
//! 0xe000_0000        ECAM of PCI bus 0
//! 0xfec0_0000        I/O APIC, local APIC, pages KVM needs for itself
//! 0x1_0000_0000 RAM  what does not fit below
//! ```

use std::ops::Range;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Where the boot parameters of PVH lie.
pub(super) const START_INFO: u64 = 0x6000;
/// The list of modules, of which the initramfs is the only one.
pub(super) const MODULE_LIST: u64 = 0x6040;
/// The memory map.
pub(super) const MEMORY_MAP: u64 = 0x7000;
/// The kernel's command line, zero-terminated.
pub(super) const CMDLINE: u64 = 0x2_0000;
/// Longest command line a stock kernel keeps, without its end marker.
pub(super) const CMDLINE_LIMIT: usize = 2047;

/// Where low memory is interrupted by what a PC had there.
pub(super) const LEGACY_HOLE: Range<u64> = 0x9_fc00..MIB;
/// ACPI tables.
pub(super) const ACPI: Range<u64> = 0xe_0000..0xf_f000;
/// The VM generation id, in a page of its own but for the reset vector.
pub(super) const VM_GENERATION_ID: u64 = 0xf_f000;
/// Where a CPU in real mode begins after a reset.
pub(super) const RESET_VECTOR: u64 = 0xf_fff0;
/// Where ordinary RAM begins.
pub(super) const HIGH_RAM: u64 = MIB;

/// Where RAM makes room for devices.
pub(super) const DEVICE_GAP: Range<u64> = 3 * GIB..4 * GIB;
/// BARs of PCI devices.
pub(super) const PCI_WINDOW: Range<u64> = 0xc000_0000..0xe000_0000;
/// Configuration space of PCI bus 0.
pub(super) const ECAM: Range<u64> = 0xe000_0000..0xe010_0000;
/// The I/O APIC.
pub(super) const IO_APIC: u64 = 0xfec0_0000;
/// The local APIC of each vCPU.
pub(super) const LOCAL_APIC: u64 = 0xfee0_0000;
/// One page that KVM may use for itself on Intel.
pub(super) const KVM_IDENTITY_MAP: u64 = 0xfffb_c000;
/// Three pages of the same kind.
pub(super) const KVM_TSS: u64 = 0xfffb_d000;

/// Ports of the serial console.
pub(super) const SERIAL_PORTS: Range<u16> = 0x3f8..0x400;
/// Interrupt of the serial console.
pub(super) const SERIAL_GSI: u32 = 4;
/// The ACPI sleep control register; the byte after it is the sleep status register.
pub(super) const SLEEP_PORT: u16 = 0x600;
/// The ACPI reset register.
pub(super) const RESET_PORT: u16 = 0x602;
/// What the guest writes there.
pub(super) const RESET_VALUE: u8 = 1;
/// Sleep type of the soft-off state.
pub(super) const SLEEP_TYPE_OFF: u8 = 5;
/// PCI configuration by ports, for a kernel that mistrusts the ECAM.
pub(super) const PCI_CONFIG_PORTS: Range<u16> = 0xcf8..0xd00;

/// The parts of guest memory that are RAM regions of the host, for a guest of `bytes`.
pub(super) fn ram_regions(bytes: u64) -> Vec<Range<u64>> {
    let low = bytes.min(DEVICE_GAP.start);
    let high = bytes - low;
    [0..low, DEVICE_GAP.end..DEVICE_GAP.end + high]
        .into_iter()
        .filter(|range| !range.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_that_fits_below_the_gap_is_one_region() {
        for size in [256 * MIB, 3 * GIB] {
            let regions = ram_regions(size);
            assert_eq!((regions.len(), regions[0].clone()), (1, 0..size));
        }
    }

    #[test]
    fn what_does_not_fit_continues_at_4_gib() {
        assert_eq!(
            ram_regions(3 * GIB + MIB),
            [0..3 * GIB, 4 * GIB..4 * GIB + MIB]
        );
        let total: u64 = ram_regions(64 * GIB).iter().map(|r| r.end - r.start).sum();
        assert_eq!(total, 64 * GIB);
    }

    #[test]
    fn nothing_overlaps() {
        let mut ranges = [
            START_INFO..START_INFO + 56,
            MODULE_LIST..MODULE_LIST + 32,
            MEMORY_MAP..MEMORY_MAP + 0x1000,
            CMDLINE..CMDLINE + CMDLINE_LIMIT as u64 + 1,
            ACPI,
            VM_GENERATION_ID..VM_GENERATION_ID + 16,
            RESET_VECTOR..RESET_VECTOR + 16,
            HIGH_RAM..DEVICE_GAP.start,
            PCI_WINDOW,
            ECAM,
            IO_APIC..IO_APIC + 0x1000,
            LOCAL_APIC..LOCAL_APIC + 0x1000,
            KVM_IDENTITY_MAP..KVM_IDENTITY_MAP + 0x1000,
            KVM_TSS..KVM_TSS + 0x3000,
        ];
        ranges.sort_by_key(|range| range.start);
        for pair in ranges.windows(2) {
            assert!(
                pair[0].end <= pair[1].start,
                "{:x?} {:x?}",
                pair[0],
                pair[1]
            );
        }
        assert!(ranges[13].end <= DEVICE_GAP.end);
    }
}
