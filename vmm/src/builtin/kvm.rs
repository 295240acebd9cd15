//! KVM: the one place that makes virtual machines, and what must be true of the host's KVM.

use std::io;
use std::sync::Arc;

use kvm_bindings::{
    CpuId, KVM_CAP_PMU_CAPABILITY, KVM_MAX_CPUID_ENTRIES, KVM_PMU_CAP_DISABLE, kvm_enable_cap,
    kvm_msi, kvm_userspace_memory_region,
};
use kvm_ioctls::{Cap, IoEventAddress, NoDatamatch, VcpuFd, VmFd};
use parking_lot::Mutex;
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_devices::{MsiMessage, NotifierBinder};
use vmm_sys_util::eventfd::EventFd;

use super::irq_routing::IrqRouting;
use super::layout;

/// The version of the KVM interface, which has not changed since 2007.
const API_VERSION: i32 = 12;

/// What we can't do without. All of it is in every kernel we support, for guests on bare hardware.
const REQUIRED: [(Cap, &str); 9] = [
    (Cap::Irqchip, "an interrupt controller in the kernel"),
    (Cap::UserMemory, "user memory regions"),
    (Cap::ExtCpuid, "CPUID of guests"),
    (Cap::SetTssAddr, "a TSS address"),
    (Cap::SetIdentityMapAddr, "an identity map address"),
    (Cap::Irqfd, "irqfd"),
    (Cap::Ioeventfd, "ioeventfd"),
    (Cap::SignalMsi, "message-signalled interrupts"),
    (Cap::TscDeadlineTimer, "a TSC deadline timer"),
];

/// KVM can't do what we ask.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// There is no usable `/dev/kvm`.
    #[error("open /dev/kvm")]
    Open(#[source] kvm_ioctls::Error),
    /// It speaks another language.
    #[error("KVM has API version {0}, not {API_VERSION}")]
    Version(i32),
    /// It lacks something.
    #[error("KVM of this host lacks {0}")]
    Missing(&'static str),
    /// A system call failed.
    #[error("{doing}")]
    Call {
        /// What we were doing.
        doing: &'static str,
        /// Why it failed.
        source: kvm_ioctls::Error,
    },
}

/// `result`, with what we were doing.
pub(super) fn call<T>(
    doing: &'static str,
    result: Result<T, kvm_ioctls::Error>,
) -> Result<T, KvmError> {
    result.map_err(|source| KvmError::Call { doing, source })
}

/// The host's KVM.
#[derive(Debug)]
pub struct Kvm {
    system: kvm_ioctls::Kvm,
}

impl Kvm {
    /// Opens `/dev/kvm`. Must be done before the jail closes.
    pub fn open() -> Result<Self, KvmError> {
        let system = kvm_ioctls::Kvm::new().map_err(KvmError::Open)?;
        Ok(Self { system })
    }

    /// Makes a machine with this memory, its interrupt controllers and no vCPUs.
    pub fn create_vm(&self, memory: GuestMemoryMmap) -> Result<Arc<Vm>, KvmError> {
        self.check()?;
        let fd = call("create a virtual machine", self.system.create_vm())?;
        let vm = Vm {
            fd,
            memory,
            routing: Mutex::default(),
        };
        vm.map_memory()?;
        vm.disable_pmu()?;
        vm.create_interrupt_controllers()?;
        Ok(Arc::new(vm))
    }

    /// What KVM can show of the host's CPU. Asking costs trips into the host's hypervisor, if it has
    /// one: ask once per machine.
    pub fn supported_cpuid(&self) -> Result<CpuId, KvmError> {
        call(
            "ask what CPU features KVM supports",
            self.system.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES),
        )
    }

    /// Most vCPUs of a machine.
    pub fn max_vcpus(&self) -> usize {
        self.system.get_max_vcpus()
    }

    fn check(&self) -> Result<(), KvmError> {
        match self.system.get_api_version() {
            API_VERSION => {}
            other => return Err(KvmError::Version(other)),
        }
        let missing = REQUIRED
            .iter()
            .find(|(cap, _)| !self.system.check_extension(*cap));
        missing.map_or(Ok(()), |(_, what)| Err(KvmError::Missing(what)))
    }
}

/// One virtual machine of KVM, and the memory it runs in.
#[derive(Debug)]
pub struct Vm {
    fd: VmFd,
    /// Held because KVM writes to it as long as a vCPU runs; every [`VcpuFd`] is kept beside an `Arc`
    /// of this.
    memory: GuestMemoryMmap,
    routing: Mutex<IrqRouting>,
}

impl Vm {
    /// The memory it runs in.
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// Makes a vCPU. Its owner must keep this machine alive for as long.
    pub fn create_vcpu(self: &Arc<Self>, id: u8) -> Result<VcpuFd, KvmError> {
        call("create a vCPU", self.fd.create_vcpu(id.into()))
    }

    /// Raises the interrupt pin `gsi` whenever `event` is signalled.
    pub fn bind_interrupt(&self, event: &EventFd, gsi: u32) -> Result<(), KvmError> {
        call("bind an interrupt", self.fd.register_irqfd(event, gsi))
    }

    /// Delivers a message-signalled interrupt now.
    pub fn signal_msi(&self, message: MsiMessage) -> io::Result<()> {
        let address = message.address.to_le_bytes();
        let [a, b, c, d, e, f, g, h] = address;
        let msi = kvm_msi {
            address_lo: u32::from_le_bytes([a, b, c, d]),
            address_hi: u32::from_le_bytes([e, f, g, h]),
            data: message.data,
            ..Default::default()
        };
        delivered(self.fd.signal_msi(msi))
    }

    /// Gives `message` a number for [`Vm::bind_event`].
    pub(super) fn route_msi(&self, message: MsiMessage) -> io::Result<u32> {
        // Told under the lock, or an older table could be the last.
        let mut routing = self.routing.lock();
        let gsi = routing.add(message)?;
        let told = routing.table();
        let told = told.and_then(|table| self.fd.set_gsi_routing(&table).map_err(io_error));
        if told.is_err() {
            routing.remove(gsi);
        }
        told.map(|()| gsi)
    }

    /// Gives the number back, which no event is bound to. KVM is told with the next change.
    pub(super) fn forget_msi(&self, gsi: u32) {
        self.routing.lock().remove(gsi);
    }

    /// Sends message `gsi` whenever `event` is signalled.
    pub(super) fn bind_event(&self, event: &EventFd, gsi: u32) -> io::Result<()> {
        self.fd.register_irqfd(event, gsi).map_err(io_error)
    }

    /// Undoes [`Vm::bind_event`]. When it returns, what was on its way has arrived.
    pub(super) fn unbind_event(&self, event: &EventFd, gsi: u32) -> io::Result<()> {
        self.fd.unregister_irqfd(event, gsi).map_err(io_error)
    }

    #[expect(unsafe_code, reason = "KVM is told addresses of our memory")]
    fn map_memory(&self) -> Result<(), KvmError> {
        // UNSAFETY: the kernel takes a raw address range to read and write behind our back.
        for (slot, region) in (0..).zip(self.memory.iter()) {
            let mapping = kvm_userspace_memory_region {
                slot,
                guest_phys_addr: region.start_addr().0,
                memory_size: region.len(),
                userspace_addr: region.as_ptr() as u64,
                flags: 0,
            };
            // SAFETY: the range is a mapping of exactly this length that `self.memory` keeps, and
            // nothing but guest memory is in it. Each region has its own slot.
            let mapped = unsafe { self.fd.set_user_memory_region(mapping) };
            call("give guest memory to KVM", mapped)?;
        }
        Ok(())
    }

    /// Takes the performance counters away: they tell a guest about its neighbours.
    fn disable_pmu(&self) -> Result<(), KvmError> {
        if self.fd.check_extension_raw(KVM_CAP_PMU_CAPABILITY.into()) == 0 {
            return Ok(());
        }
        let cap = kvm_enable_cap {
            cap: KVM_CAP_PMU_CAPABILITY,
            args: [KVM_PMU_CAP_DISABLE.into(), 0, 0, 0],
            ..Default::default()
        };
        call("disable performance counters", self.fd.enable_cap(&cap))
    }

    /// Local and I/O APICs in the kernel, and no timer chip: the guest uses the TSC deadline timer,
    /// and every PIT costs the host a kernel thread.
    fn create_interrupt_controllers(&self) -> Result<(), KvmError> {
        let tss = usize::try_from(layout::KVM_TSS).expect("addresses have 64 bits");
        call(
            "set the identity map's address",
            self.fd.set_identity_map_address(layout::KVM_IDENTITY_MAP),
        )?;
        call("set the TSS's address", self.fd.set_tss_address(tss))?;
        call("create interrupt controllers", self.fd.create_irq_chip())
    }
}

impl NotifierBinder for Vm {
    fn bind(&self, address: u64, notifier: &EventFd) -> io::Result<()> {
        let address = IoEventAddress::Mmio(address);
        self.fd
            .register_ioevent(notifier, &address, NoDatamatch)
            .map_err(io_error)
    }

    fn unbind(&self, address: u64, notifier: &EventFd) -> io::Result<()> {
        let address = IoEventAddress::Mmio(address);
        self.fd
            .unregister_ioevent(notifier, &address, NoDatamatch)
            .map_err(io_error)
    }
}

/// What came of an interrupt. That nobody got it is the guest's affair, which chose where it goes: KVM says 0
/// where the guest blocked it and -1, which reads as `EPERM`, where no CPU of the guest goes by that address.
fn delivered(sent: Result<i32, kvm_ioctls::Error>) -> io::Result<()> {
    match sent {
        Err(error) if error.errno() != libc::EPERM => Err(io_error(error)),
        _ => Ok(()),
    }
}

fn io_error(error: kvm_ioctls::Error) -> io::Error {
    io::Error::from_raw_os_error(error.errno())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_that_a_guest_sends_to_nobody_is_no_error_of_the_hosts() {
        let failed = |errno| Err(kvm_ioctls::Error::new(errno));
        for sent in [Ok(1), Ok(0), failed(libc::EPERM)] {
            delivered(sent).unwrap();
        }
        let error = delivered(failed(libc::EINVAL)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}
