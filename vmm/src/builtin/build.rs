//! Building a machine: from its description to vCPUs that only have to run.

mod error;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_api::MachineSpec;
use vmm_devices::bus::SharedDevice;
use vmm_devices::pci::{ConfigPorts, Ecam, PciRoot};
use vmm_devices::serial::Serial;
use vmm_devices::virtio::rng::Rng;
use vmm_devices::virtio::vsock::Vsock;
use vmm_devices::{Bus, MmioDevice};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::devices::Wires;
use super::kernel;
use super::kvm::{Kvm, Vm};
use super::memory;
use super::power::{self, Power};
use super::state::MachineState;
use super::vcpu::{Buses, Vcpu};
use super::{Builtin, Parts, Thread, Threads, acpi, cpuid, layout};
use crate::console::Console;
use crate::files::Files;
use crate::io_thread::IoThread;
use crate::machine::Surroundings;
use crate::services;
use crate::vsock::{GUEST_CID, Mux};

pub(crate) use error::BuildError;

fn io_error(doing: &'static str) -> impl FnOnce(io::Error) -> BuildError {
    move |source| BuildError::Io { doing, source }
}

pub(super) fn build(
    spec: &MachineSpec,
    files: &Files,
    surroundings: Surroundings,
) -> Result<Builtin, BuildError> {
    let kvm = (*surroundings.kvm).as_ref();
    let kvm = kvm.map_err(|error| BuildError::NoKvm(crate::chain(error)))?;
    let vcpus = check_vcpus(spec.vcpus, kvm)?;
    let memory = memory::map(spec.memory_mib, spec.memory_sharing)?;
    let loaded = kernel::load(
        &memory,
        &mut files.file("kernel", spec.kernel)?,
        &files.file("initramfs", spec.initramfs)?,
        &spec.cmdline,
    )?;
    write_firmware(&memory, vcpus)?;
    let vm = kvm.create_vm(memory)?;
    let console = open_console(spec, files)?;
    let buses = make_buses(&vm, console.another(), &surroundings)?;
    let parts = make_parts(&vm, &buses, spec, files, console, &surroundings)?;
    let vcpus = make_vcpus(kvm, &vm, vcpus, loaded.entry, &buses)?;
    Ok(Builtin {
        state: MachineState::Created,
        surroundings,
        pre_faulted: vcpus
            .first()
            .map_or(0, |first| first.pre_fault(&loaded.filled)),
        vcpus,
        running: None,
        parts: Some(parts),
        counted: Vec::new(),
    })
}

fn check_vcpus(vcpus: u32, kvm: &Kvm) -> Result<u8, BuildError> {
    let most = u32::try_from(kvm.max_vcpus()).unwrap_or(u32::MAX);
    let most = most.min(acpi::MAX_VCPUS);
    match u8::try_from(vcpus) {
        Ok(number @ 1..) if vcpus <= most => Ok(number),
        _ => Err(BuildError::Vcpus { vcpus, most }),
    }
}

/// Writes what firmware would leave behind: tables, the id of this generation of the machine, and a way to
/// reset it.
fn write_firmware(memory: &GuestMemoryMmap, vcpus: u8) -> Result<(), BuildError> {
    acpi::write(memory, vcpus).map_err(BuildError::Tables)?;
    let mut generation = [0; 16];
    rustix::rand::getrandom(&mut generation, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| io_error("draw a generation id")(error.into()))?;
    [
        (&generation[..], layout::VM_GENERATION_ID),
        (&power::RESET_CODE, layout::RESET_VECTOR),
    ]
    .into_iter()
    .try_for_each(|(bytes, address)| memory.write_slice(bytes, GuestAddress(address)))
    .map_err(BuildError::Tables)
}

/// Both buses, with what is on the port bus.
fn make_buses(vm: &Vm, console: Console, surroundings: &Surroundings) -> Result<Buses, BuildError> {
    let ports = Arc::new(Bus::new());
    let power = Power::new(Arc::clone(&surroundings.end));
    ports.insert(layout::SLEEP_PORT.into(), power::PORTS, shared(power))?;
    let serial = make_serial(vm, console)?;
    ports.insert(layout::SERIAL_PORTS.start.into(), 8, serial)?;
    Ok(Buses {
        ports,
        memory: Arc::new(Bus::new()),
    })
}

fn open_console(spec: &MachineSpec, files: &Files) -> Result<Console, BuildError> {
    let file = files.file("console", spec.console)?;
    Console::new(file, spec.console_limit_bytes).map_err(BuildError::Console)
}

fn make_serial(vm: &Vm, console: Console) -> Result<SharedDevice, BuildError> {
    let interrupt = EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK)
        .map_err(io_error("make the serial port's interrupt"))?;
    vm.bind_interrupt(&interrupt, layout::SERIAL_GSI)?;
    Ok(shared(Serial::new(interrupt, console)))
}

fn shared(device: impl MmioDevice + 'static) -> SharedDevice {
    Arc::new(Mutex::new(device))
}

/// The PCI bus with all devices on it, and the threads that work for them.
fn make_parts(
    vm: &Arc<Vm>,
    buses: &Buses,
    spec: &MachineSpec,
    files: &Files,
    console: Console,
    surroundings: &Surroundings,
) -> Result<Parts, BuildError> {
    let mut parts = Parts {
        buses: buses.clone(),
        root: make_root(buses)?,
        wires: Wires::new(Arc::clone(vm), Arc::clone(&surroundings.end)),
        threads: start_threads(spec, surroundings)?,
        devices: BTreeMap::new(),
        has_fs: false,
    };
    let vsock = make_vsock(spec, files, console, surroundings)?;
    let own = |device| move |source| BuildError::Own { device, source };
    parts
        .plug(Box::new(vsock), Thread::Io, None)
        .map_err(own("vsock device"))?;
    parts
        .plug(Box::new(Rng::new()), Thread::Io, None)
        .map_err(own("random number device"))?;
    for (index, interface) in spec.interfaces.iter().enumerate() {
        parts
            .add_interface(interface, files)
            .map_err(|source| BuildError::Interface { index, source })?;
    }
    for (index, device) in spec.devices.iter().enumerate() {
        parts
            .attach(device, files)
            .map_err(|source| BuildError::Device { index, source })?;
    }
    Ok(parts)
}

fn make_root(buses: &Buses) -> Result<Arc<PciRoot>, BuildError> {
    let window = &layout::PCI_WINDOW;
    let address = |address| u32::try_from(address).expect("below 4 GiB");
    let root = PciRoot::new(
        Arc::clone(&buses.memory),
        address(window.start)..address(window.end),
    );
    let ecam = &layout::ECAM;
    let registers = shared(Ecam::new(Arc::clone(&root)));
    buses
        .memory
        .insert(ecam.start, ecam.end - ecam.start, registers)?;
    let ports = shared(ConfigPorts::new(Arc::clone(&root)));
    buses
        .ports
        .insert(layout::PCI_CONFIG_PORTS.start.into(), 8, ports)?;
    Ok(root)
}

fn start_threads(spec: &MachineSpec, surroundings: &Surroundings) -> Result<Threads, BuildError> {
    let start = |name| {
        let Surroundings { filters, end, .. } = surroundings.clone();
        IoThread::spawn(name, filters, end).map_err(io_error("start an I/O thread"))
    };
    Ok(Threads {
        io: start("io")?,
        disk: start("disk")?,
        net: match spec.interfaces.as_slice() {
            [] => None,
            _ => Some(start("net")?),
        },
    })
}

fn make_vsock(
    spec: &MachineSpec,
    files: &Files,
    console: Console,
    surroundings: &Surroundings,
) -> Result<Vsock, BuildError> {
    let listener = files.fd("vsock.listener", spec.vsock.listener)?;
    let connect = services::for_guest(&surroundings.logs, &surroundings.ready, console);
    Mux::new(listener, connect)
        .and_then(|mux| Vsock::new(GUEST_CID, Box::new(mux)))
        .map_err(io_error("set streams between host and guest up"))
}

fn make_vcpus(
    kvm: &Kvm,
    vm: &Arc<Vm>,
    vcpus: u8,
    entry: GuestAddress,
    buses: &Buses,
) -> Result<Vec<Vcpu>, BuildError> {
    let features = cpuid::features(&kvm.supported_cpuid()?, cpuid::host_is_emulated());
    (0..vcpus)
        .map(|id| {
            let cpuid = cpuid::for_vcpu(&features, id, vcpus);
            Ok(Vcpu::new(vm, id, &cpuid, entry, buses.clone())?)
        })
        .collect()
}
