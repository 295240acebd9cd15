//! vCPUs: one thread each, which runs the guest until it wants something of a device.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use kvm_bindings::CpuId;
use kvm_ioctls::{VcpuExit, VcpuFd};
use vm_memory::GuestAddress;
use vmm_api::event::Stop;
use vmm_devices::{Bus, host_warn};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

use super::kvm::{KvmError, Vm, call};
use super::{pre_fault, registers};
use crate::milestone::{Ended, Milestone};
use crate::seccomp::{Filters, Role, SeccompError};

/// How long we wait for a vCPU before we kick it again: one kick may hit just before it enters the guest.
const KICK_AGAIN: Duration = Duration::from_millis(2);

/// vCPUs can't run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A signal has no handler, so nobody could be kicked.
    #[error("handle the signal that kicks vCPUs")]
    Signal(#[source] io::Error),
    /// There can be no more threads.
    #[error("start the thread of vCPU {id}")]
    Thread {
        /// Which.
        id: u8,
        /// Why.
        source: io::Error,
    },
    /// A thread could not be restricted.
    #[error("restrict the thread of vCPU {id}")]
    Restrict {
        /// Which.
        id: u8,
        /// Why.
        source: SeccompError,
    },
}

/// What the guest's accesses reach.
#[derive(Clone)]
pub(super) struct Buses {
    pub(super) ports: Arc<Bus>,
    pub(super) memory: Arc<Bus>,
}

/// A vCPU that does not run yet.
pub(super) struct Vcpu {
    id: u8,
    fd: VcpuFd,
    buses: Buses,
    /// Keeps the memory that KVM writes to while `fd` runs.
    _vm: Arc<Vm>,
}

impl Vcpu {
    /// Makes vCPU `id`. The first begins at `entry`, the others wait until the guest starts them.
    pub(super) fn new(
        vm: &Arc<Vm>,
        id: u8,
        cpuid: &CpuId,
        entry: GuestAddress,
        buses: Buses,
    ) -> Result<Self, KvmError> {
        let fd = vm.create_vcpu(id)?;
        call("set CPUID", fd.set_cpuid2(cpuid))?;
        if id == 0 {
            begin_at(&fd, entry)?;
        }
        Ok(Self {
            id,
            fd,
            buses,
            _vm: Arc::clone(vm),
        })
    }

    /// Shows KVM what lies in `ranges` of guest-physical memory, if it can be shown. Tells how many bytes were.
    pub(super) fn pre_fault(&self, ranges: &[Range<u64>]) -> u64 {
        let (bytes, done) = pre_fault::pre_fault(&self.fd, ranges);
        if let Err(error) = done {
            tracing::debug!(%error, bytes, "the guest finds its memory page by page");
        }
        bytes
    }

    /// Runs until the machine ends, and tells if this vCPU is why.
    fn run(mut self, end: &Milestone<Ended>) {
        while !end.is_reached() {
            if let Err(Ended { how, why }) = self.step() {
                end.end(how, format!("vCPU {}: {why}", self.id));
            }
        }
    }

    /// Runs the guest until it wants something, and does that. `Err` is the end.
    fn step(&mut self) -> Result<(), Ended> {
        let Buses { ports, memory } = &self.buses;
        match self.fd.run() {
            Ok(VcpuExit::IoIn(port, data)) => read(ports, port.into(), data),
            Ok(VcpuExit::IoOut(port, data)) => write(ports, port.into(), data),
            Ok(VcpuExit::MmioRead(address, data)) => read(memory, address, data),
            Ok(VcpuExit::MmioWrite(address, data)) => write(memory, address, data),
            Ok(exit) => return judge(&exit),
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {}
            Err(error) => return Err(ended(Stop::HostError, format!("run: {error}"))),
        }
        Ok(())
    }
}

/// What an exit means that wants nothing of a device.
fn judge(exit: &VcpuExit<'_>) -> Result<(), Ended> {
    match exit {
        VcpuExit::Intr | VcpuExit::IrqWindowOpen | VcpuExit::Hlt => Ok(()),
        VcpuExit::Shutdown => Err(ended(Stop::Crash, "the guest crashed (triple fault)")),
        // The guest made the CPU do what KVM can't emulate, such as run code in a device's memory.
        VcpuExit::InternalError => Err(ended(
            Stop::Crash,
            "the guest did something that KVM can't emulate",
        )),
        VcpuExit::FailEntry(reason, _) => Err(ended(
            Stop::HostError,
            format!("the CPU refused to enter the guest, reason {reason:#x}"),
        )),
        other => Err(ended(Stop::HostError, format!("unexpected exit {other:?}"))),
    }
}

fn ended(how: Stop, why: impl Into<String>) -> Ended {
    Ended {
        how,
        why: why.into(),
    }
}

/// Reads what answers at `address`; where nothing does, a bus floats high.
fn read(bus: &Bus, address: u64, data: &mut [u8]) {
    if !bus.read(address, data) {
        data.fill(0xff);
    }
}

/// Writes to what answers at `address`. Where nothing does, a write goes nowhere.
fn write(bus: &Bus, address: u64, data: &[u8]) {
    let _ = bus.write(address, data);
}

fn begin_at(fd: &VcpuFd, entry: GuestAddress) -> Result<(), KvmError> {
    let mut sregs = call("read segment registers", fd.get_sregs())?;
    registers::enter_protected_mode(&mut sregs);
    call("set segment registers", fd.set_sregs(&sregs))?;
    call("set registers", fd.set_regs(&registers::at_entry(entry)))?;
    call("set floating point", fd.set_fpu(&registers::fpu()))?;
    call("set MSRs", fd.set_msrs(&registers::msrs())).map(drop)
}

/// vCPUs in their threads. They stop when this is dropped.
pub(super) struct RunningVcpus {
    threads: Vec<JoinHandle<()>>,
    end: Arc<Milestone<Ended>>,
}

impl RunningVcpus {
    /// Lets all `vcpus` run. When this returns, they do.
    pub(super) fn start(
        vcpus: Vec<Vcpu>,
        filters: &Arc<Filters>,
        end: &Arc<Milestone<Ended>>,
    ) -> Result<Self, StartError> {
        register_signal_handler(kick(), interrupted)
            .map_err(|error| StartError::Signal(error.into()))?;
        let mut running = Self {
            threads: Vec::new(),
            end: Arc::clone(end),
        };
        for vcpu in vcpus {
            running.spawn(vcpu, Arc::clone(filters))?;
        }
        Ok(running)
    }

    fn spawn(&mut self, vcpu: Vcpu, filters: Arc<Filters>) -> Result<(), StartError> {
        let id = vcpu.id;
        let end = Arc::clone(&self.end);
        let (restricted, outcome): (SyncSender<_>, _) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(format!("vcpu{id}"))
            .spawn(move || {
                let result = filters.apply(Role::Vcpu);
                let allowed = result.is_ok();
                // The starter waits for it.
                let _ = restricted.send(result);
                if allowed {
                    vcpu.run(&end);
                }
            })
            .map_err(|source| StartError::Thread { id, source })?;
        self.threads.push(thread);
        match outcome.recv() {
            Ok(Err(source)) => Err(StartError::Restrict { id, source }),
            // A thread that is gone without an answer shows as the end of the machine.
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }
}

impl Drop for RunningVcpus {
    fn drop(&mut self) {
        self.end.end(Stop::Killed, "the machine was stopped");
        for thread in self.threads.drain(..) {
            while !thread.is_finished() {
                if let Err(error) = thread.kill(kick()) {
                    host_warn!(%error, "a vCPU can't be kicked");
                }
                std::thread::sleep(KICK_AGAIN);
            }
            if thread.join().is_err() {
                host_warn!("the thread of a vCPU panicked");
            }
        }
    }
}

/// The signal that makes a vCPU leave the guest.
fn kick() -> i32 {
    SIGRTMIN()
}

/// Does nothing: that a signal came is what ends a system call.
extern "C" fn interrupted(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
