//! The registers of vCPUs before their first instruction.

use kvm_bindings::{Msrs, kvm_fpu, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs};
use vm_memory::GuestAddress;

use super::layout;

const CR0_PROTECTED_MODE: u64 = 1;
const CR0_EXTENSION_TYPE: u64 = 1 << 4;
/// Bit 1 is always set.
const RFLAGS_RESERVED: u64 = 2;

const MSR_MISC_ENABLE: u32 = 0x1a0;
const FAST_STRINGS: u64 = 1;
const MSR_MTRR_DEFAULT_TYPE: u32 = 0x2ff;
const MTRR_ENABLED: u64 = 1 << 11;
const MTRR_WRITE_BACK: u64 = 6;

/// Segment types (Intel SDM volume 3, §3.4.5.1 and §3.5): all are marked accessed or busy.
const CODE: u8 = 0xb;
const DATA: u8 = 0x3;
const TASK: u8 = 0xb;

/// General registers at the PVH entry: EBX points to the start info.
pub(super) fn at_entry(entry: GuestAddress) -> kvm_regs {
    kvm_regs {
        rip: entry.0,
        rbx: layout::START_INFO,
        rflags: RFLAGS_RESERVED,
        ..Default::default()
    }
}

/// Turns the reset state `sregs` into that of the PVH entry: 32-bit protected mode without paging,
/// all segments flat.
pub(super) fn enter_protected_mode(sregs: &mut kvm_sregs) {
    sregs.cr0 = CR0_PROTECTED_MODE | CR0_EXTENSION_TYPE;
    sregs.cr4 = 0;
    sregs.cs = flat(CODE);
    for data in [
        &mut sregs.ds,
        &mut sregs.es,
        &mut sregs.fs,
        &mut sregs.gs,
        &mut sregs.ss,
    ] {
        *data = flat(DATA);
    }
    sregs.tr = kvm_segment {
        limit: 0x67,
        type_: TASK,
        present: 1,
        ..Default::default()
    };
}

fn flat(type_: u8) -> kvm_segment {
    kvm_segment {
        limit: u32::MAX,
        type_,
        present: 1,
        // A segment of code or data, of 32 bits, its limit counted in pages.
        s: 1,
        db: 1,
        g: 1,
        ..Default::default()
    }
}

/// Floating point as after FNINIT.
pub(super) fn fpu() -> kvm_fpu {
    kvm_fpu {
        fcw: 0x37f,
        mxcsr: 0x1f80,
        ..Default::default()
    }
}

/// Model-specific registers that firmware sets on a PC.
pub(super) fn msrs() -> Msrs {
    let entry = |index, data| kvm_msr_entry {
        index,
        data,
        ..Default::default()
    };
    Msrs::from_entries(&[
        entry(MSR_MISC_ENABLE, FAST_STRINGS),
        // All memory is cached unless page tables say otherwise.
        entry(MSR_MTRR_DEFAULT_TYPE, MTRR_ENABLED | MTRR_WRITE_BACK),
    ])
    .expect("two entries are below KVM's limit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_entered_in_flat_protected_mode() {
        let mut sregs = kvm_sregs::default();
        enter_protected_mode(&mut sregs);
        assert_eq!(sregs.cr0 & (1 | 1 << 31), 1, "protected, not paged");
        assert_eq!(sregs.efer, 0);
        for segment in [sregs.cs, sregs.ds, sregs.es, sregs.ss] {
            assert_eq!((segment.base, segment.limit, segment.g), (0, u32::MAX, 1));
        }
        let regs = at_entry(GuestAddress(0x100_0a30));
        assert_eq!((regs.rip, regs.rbx), (0x100_0a30, layout::START_INFO));
    }
}
