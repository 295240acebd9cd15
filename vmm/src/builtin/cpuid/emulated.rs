//! Hosts whose own CPU is emulated by QEMU (TCG), which virtualises all but one thing.
//!
//! Its SVM does not intercept XSETBV. A guest that enables extended state (AVX and what came after) does so
//! behind KVM's back; KVM goes on telling it the sizes for what was enabled before, and the kernel warns of that at
//! each boot, gives up on extended state, and has changed the host's. So guests there are not shown it.

use std::arch::x86_64::__cpuid;

use kvm_bindings::kvm_cpuid_entry2;

/// The leaf in which a hypervisor names itself.
const HYPERVISOR_LEAF: u32 = 0x4000_0000;

/// Leaf 1 ECX: FMA, XSAVE, OSXSAVE, AVX, F16C.
const LEAF_1_ECX: u32 = 1 << 12 | 0xf << 26;
/// Leaf 7 EBX: AVX2, MPX, and the parts of AVX-512.
const LEAF_7_EBX: u32 = 1 << 5 | 1 << 14 | 0b11 << 16 | 1 << 21 | 0b111 << 26 | 0b11 << 30;
/// Leaf 7 ECX: more AVX-512, protection keys, vector AES and carry-less multiplication.
const LEAF_7_ECX: u32 = 1 << 1 | 0b11 << 3 | 1 << 6 | 0b1_1111 << 9 | 1 << 14;

/// Whether the CPU that we run on is QEMU's emulation.
pub(in crate::builtin) fn host_is_emulated() -> bool {
    let name = __cpuid(HYPERVISOR_LEAF);
    [name.ebx, name.ecx, name.edx].map(u32::to_le_bytes) == [*b"TCGT", *b"CGTC", *b"GTCG"]
}

/// The same leaf without extended state and what needs it.
pub(super) fn hide_extended_state(mut entry: kvm_cpuid_entry2) -> kvm_cpuid_entry2 {
    match (entry.function, entry.index) {
        (0x1, _) => entry.ecx &= !LEAF_1_ECX,
        (0x7, 0) => {
            entry.ebx &= !LEAF_7_EBX;
            entry.ecx &= !LEAF_7_ECX;
        }
        (0x7 | 0xd, _) => super::clear(&mut entry),
        _ => {}
    }
    entry
}
