//! Showing KVM memory that is filled already, before the guest looks at it.
//!
//! Else the guest stops at each page of its kernel once, ten thousand times in a boot, for a page that is
//! there. One call for all of it costs a fraction. KVM_PRE_FAULT_MEMORY of
//! `Documentation/virt/kvm/api.rst`, from Linux 6.11 on.
#![expect(unsafe_code, reason = "kvm-ioctls has no wrapper for this ioctl")]
// UNSAFETY: an ioctl takes a pointer to a structure that the kernel reads and writes.

use std::io;
use std::ops::Range;

use kvm_bindings::{KVMIO, kvm_pre_fault_memory};
use kvm_ioctls::VcpuFd;
use vmm_sys_util::ioctl::ioctl_with_mut_ref;
use vmm_sys_util::ioctl_iowr_nr;

const PAGE: u64 = 4096;

ioctl_iowr_nr!(KVM_PRE_FAULT_MEMORY, KVMIO, 0xd5, kvm_pre_fault_memory);

/// Maps the pages of `ranges` of guest-physical memory for the machine of `vcpu`, which must not run yet.
/// Tells how many bytes were mapped; an error is one of a host that can't do so, or not here, and harms
/// nobody.
pub(super) fn pre_fault(vcpu: &VcpuFd, ranges: &[Range<u64>]) -> (u64, io::Result<()>) {
    let mut mapped = 0;
    for range in ranges {
        let pages = pages(range);
        let size = pages.end - pages.start;
        let mut left = kvm_pre_fault_memory {
            gpa: pages.start,
            size,
            ..Default::default()
        };
        while left.size > 0 {
            // SAFETY: the kernel reads and writes one structure of the size that is part of the ioctl's
            // number.
            let done = unsafe { ioctl_with_mut_ref(vcpu, KVM_PRE_FAULT_MEMORY(), &mut left) };
            if done >= 0 {
                // It stops half-way when others want the CPU.
                continue;
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return (mapped + size - left.size, Err(error));
            }
        }
        mapped += size;
    }
    (mapped, Ok(()))
}

/// The pages that `range` lies in.
fn pages(range: &Range<u64>) -> Range<u64> {
    range.start / PAGE * PAGE..range.end.next_multiple_of(PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_takes_all_pages_that_it_touches() {
        assert_eq!(pages(&(0x1001..0x2001)), 0x1000..0x3000);
        assert_eq!(pages(&(0x1000..0x2000)), 0x1000..0x2000);
    }
}
