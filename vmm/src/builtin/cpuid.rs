//! What the guest is told about its CPUs: what KVM can do, minus what a pod has no business with.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};

mod emulated;

pub(super) use emulated::host_is_emulated;

/// Leaf 1 ECX: VMX, which would let the guest run guests of its own.
const VMX: u32 = 1 << 5;
/// Leaf 1 ECX: the TSC deadline timer. KVM has it but does not list it.
const TSC_DEADLINE: u32 = 1 << 24;
/// Leaf 1 ECX: runs under a hypervisor.
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1 EDX: the package has several logical processors.
const MULTI_PROCESSOR: u32 = 1 << 28;
/// Leaf 7 EBX: SGX.
const SGX: u32 = 1 << 2;
/// Leaf 7 ECX: SGX launch control.
const SGX_LAUNCH: u32 = 1 << 30;
/// Leaf 0x8000_0001 ECX: SVM, AMD's VMX.
const SVM: u32 = 1 << 2;
/// Leaf 0x8000_0001 ECX: AMD's extended performance counters: core, NB and last-level cache.
const PERFORMANCE_COUNTERS: u32 = 1 << 23 | 1 << 24 | 1 << 28;
/// Leaf 6 EAX: the local APIC timer keeps running in every power state.
const ALWAYS_RUNNING_TIMER: u32 = 1 << 2;

/// Topology levels of leaves 0xb and 0x1f.
const LEVEL_THREAD: u32 = 1;
const LEVEL_CORE: u32 = 2;

/// What every vCPU can do, from what KVM supports on a host whose own CPU is real or `emulated`.
pub(super) fn features(supported: &CpuId, emulated: bool) -> CpuId {
    let entries = supported.as_slice().iter().map(|entry| {
        let entry = restrict(*entry);
        if emulated {
            emulated::hide_extended_state(entry)
        } else {
            entry
        }
    });
    collect(entries)
}

/// The CPUID of vCPU `id` of `vcpus`, which can do `features`: one socket whose every core is one vCPU.
///
/// One socket, because Linux calibrates the clock of each socket by itself.
pub(super) fn for_vcpu(features: &CpuId, id: u8, vcpus: u8) -> CpuId {
    let topology = Topology { id, vcpus };
    let entries = features
        .as_slice()
        .iter()
        .filter(|entry| !is_topology(entry.function))
        .map(|entry| topology.adapt(*entry));
    collect(entries.chain(topology.leaves(features)))
}

fn collect(entries: impl Iterator<Item = kvm_cpuid_entry2>) -> CpuId {
    let entries: Vec<_> = entries.collect();
    // Only a list longer than KVM's own limit fails, and ours is at most six leaves longer than
    // what KVM listed, which is far from it.
    CpuId::from_entries(&entries).expect("fewer entries than KVM's limit")
}

/// Takes away what a pod has no business with.
fn restrict(mut entry: kvm_cpuid_entry2) -> kvm_cpuid_entry2 {
    match entry.function {
        0x1 => entry.ecx = entry.ecx & !VMX | TSC_DEADLINE | HYPERVISOR,
        0x6 => {
            entry.eax &= ALWAYS_RUNNING_TIMER;
            (entry.ebx, entry.ecx, entry.edx) = (0, 0, 0);
        }
        0x7 if entry.index == 0 => {
            entry.ebx &= !SGX;
            entry.ecx &= !SGX_LAUNCH;
        }
        // Performance counters of Intel and AMD; SGX; SVM.
        0xa | 0x12 | 0x8000_000a | 0x8000_0022 => clear(&mut entry),
        0x8000_0001 => entry.ecx &= !(SVM | PERFORMANCE_COUNTERS),
        _ => {}
    }
    entry
}

const fn is_topology(leaf: u32) -> bool {
    matches!(leaf, 0xb | 0x1f | 0x8000_0026)
}

#[derive(Clone, Copy)]
struct Topology {
    id: u8,
    vcpus: u8,
}

impl Topology {
    /// Bits of an APIC id that number the vCPUs.
    fn core_bits(self) -> u32 {
        u32::from(self.vcpus).next_power_of_two().trailing_zeros()
    }

    fn adapt(self, mut entry: kvm_cpuid_entry2) -> kvm_cpuid_entry2 {
        let last_core = u32::from(self.vcpus) - 1;
        match entry.function {
            0x1 => self.adapt_leaf_1(&mut entry),
            // Intel caches: how many ids a package has; how many share a cache is left to KVM.
            0x4 if entry.eax & 0x1f != 0 => {
                let ids = (1 << self.core_bits()) - 1;
                entry.eax = entry.eax & 0x3fff | ids << 26 | shared_by(entry.eax, ids) << 14;
            }
            0x8000_0008 => entry.ecx = self.core_bits() << 12 | last_core,
            // AMD caches: which vCPUs share one.
            0x8000_001d if entry.eax & 0x1f != 0 => {
                entry.eax = entry.eax & 0x3fff | shared_by(entry.eax, last_core) << 14;
            }
            0x8000_001e => {
                entry.eax = self.id.into();
                entry.ebx = self.id.into();
                entry.ecx = 0;
            }
            _ => {}
        }
        entry
    }

    fn adapt_leaf_1(self, entry: &mut kvm_cpuid_entry2) {
        let vcpus = u32::from(self.vcpus);
        entry.ebx = entry.ebx & 0xffff | vcpus << 16 | u32::from(self.id) << 24;
        if vcpus > 1 {
            entry.edx |= MULTI_PROCESSOR;
        } else {
            entry.edx &= !MULTI_PROCESSOR;
        }
    }

    /// Leaves 0xb and, where the CPU has it, 0x1f: a thread level of one, and a core level of all.
    fn leaves(self, supported: &CpuId) -> impl Iterator<Item = kvm_cpuid_entry2> {
        let last = supported
            .as_slice()
            .iter()
            .filter(|entry| entry.function < 0x4000_0000)
            .map(|entry| entry.function)
            .max()
            .unwrap_or(0);
        [0xb, 0x1f]
            .into_iter()
            .filter(move |leaf| *leaf <= last)
            .flat_map(move |leaf| {
                [
                    (LEVEL_THREAD, 0, 1),
                    (LEVEL_CORE, self.core_bits(), self.vcpus.into()),
                    (0, 0, 0),
                ]
                .into_iter()
                .zip(0..)
                .map(move |((level, shift, count), index)| kvm_cpuid_entry2 {
                    function: leaf,
                    index,
                    flags: kvm_bindings::KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                    eax: shift,
                    ebx: count,
                    ecx: level << 8 | index,
                    edx: self.id.into(),
                    ..Default::default()
                })
            })
    }
}

/// The sharing field of a cache: first and second level belong to one vCPU, the third to all.
fn shared_by(cache: u32, all: u32) -> u32 {
    let level = cache >> 5 & 0x7;
    if level >= 3 { all } else { 0 }
}

fn clear(entry: &mut kvm_cpuid_entry2) {
    (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(function: u32, index: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 {
            function,
            index,
            eax: u32::MAX,
            ebx: u32::MAX,
            ecx: u32::MAX,
            edx: u32::MAX,
            ..Default::default()
        }
    }

    /// A CPU that can do everything.
    fn supported() -> CpuId {
        let leaves = [
            0x1,
            0x4,
            0x6,
            0x7,
            0xa,
            0xb,
            0x12,
            0x1f,
            0x4000_0001,
            0x8000_0001,
            0x8000_0008,
            0x8000_000a,
            0x8000_001d,
            0x8000_001e,
            0x8000_0022,
            0x8000_0026,
        ];
        CpuId::from_entries(&leaves.map(|leaf| entry(leaf, 0))).unwrap()
    }

    #[track_caller]
    fn leaf(cpuid: &CpuId, function: u32, index: u32) -> kvm_cpuid_entry2 {
        let mut found = cpuid
            .as_slice()
            .iter()
            .filter(|entry| (entry.function, entry.index) == (function, index));
        let entry = *found.next().expect("leaf");
        assert!(found.next().is_none(), "leaf {function:#x} twice");
        entry
    }

    /// The CPUID of a vCPU on a host with such a CPU.
    fn shown(id: u8, vcpus: u8) -> CpuId {
        for_vcpu(&features(&supported(), false), id, vcpus)
    }

    #[test]
    fn nested_virtualisation_sgx_and_performance_counters_are_hidden() {
        let cpuid = shown(0, 1);
        assert_eq!(leaf(&cpuid, 1, 0).ecx & VMX, 0);
        assert_eq!(
            leaf(&cpuid, 0x8000_0001, 0).ecx & (SVM | PERFORMANCE_COUNTERS),
            0
        );
        assert_eq!(leaf(&cpuid, 7, 0).ebx & SGX, 0);
        for hidden in [0xa, 0x12, 0x8000_000a, 0x8000_0022] {
            let entry = leaf(&cpuid, hidden, 0);
            assert_eq!((entry.eax, entry.ebx, entry.ecx, entry.edx), (0, 0, 0, 0));
        }
    }

    #[test]
    fn the_deadline_timer_and_the_hypervisor_show() {
        let cpuid = shown(0, 1);
        let ecx = leaf(&cpuid, 1, 0).ecx;
        assert_eq!(ecx & (TSC_DEADLINE | HYPERVISOR), TSC_DEADLINE | HYPERVISOR);
        assert_eq!(leaf(&cpuid, 0x4000_0001, 0).eax, u32::MAX);
    }

    #[test]
    fn six_vcpus_are_six_cores_of_one_socket() {
        let cpuid = shown(5, 6);
        assert_eq!(leaf(&cpuid, 1, 0).ebx >> 16, 5 << 8 | 6);
        assert_ne!(leaf(&cpuid, 1, 0).edx & MULTI_PROCESSOR, 0);
        for topology in [0xb, 0x1f] {
            let threads = leaf(&cpuid, topology, 0);
            assert_eq!((threads.eax, threads.ebx, threads.ecx), (0, 1, 0x100));
            let cores = leaf(&cpuid, topology, 1);
            assert_eq!((cores.eax, cores.ebx, cores.ecx), (3, 6, 0x201));
            assert_eq!(leaf(&cpuid, topology, 2).ebx, 0);
            assert_eq!(cores.edx, 5);
        }
        assert_eq!(leaf(&cpuid, 0x8000_0008, 0).ecx, 3 << 12 | 5);
        assert_eq!(leaf(&cpuid, 0x8000_001e, 0).eax, 5);
    }

    #[test]
    fn one_vcpu_is_no_multi_processor() {
        let cpuid = shown(0, 1);
        assert_eq!(leaf(&cpuid, 1, 0).edx & MULTI_PROCESSOR, 0);
        assert_eq!(leaf(&cpuid, 0xb, 1).eax, 0);
    }

    #[test]
    fn a_cpu_without_the_newer_topology_leaf_gets_none() {
        let old = CpuId::from_entries(&[entry(0x1, 0), entry(0xd, 0)]).unwrap();
        let cpuid = for_vcpu(&features(&old, false), 0, 2);
        assert!(cpuid.as_slice().iter().all(|entry| entry.function != 0x1f));
        assert_eq!(leaf(&cpuid, 0xb, 1).ebx, 2);
    }

    #[test]
    fn an_emulated_host_shows_no_extended_state() {
        let real = leaf(&shown(0, 1), 1, 0).ecx;
        let emulated = leaf(&features(&supported(), true), 1, 0).ecx;
        assert_eq!(real & !emulated, 1 << 12 | 0xf << 26);
    }
}
