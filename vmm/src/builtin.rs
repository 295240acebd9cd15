//! Our own machine, on KVM.

use std::collections::BTreeMap;
use std::sync::Arc;

use vmm_api::{DeviceAddress, DeviceSpec, MachineSpec};
use vmm_devices::pci::PciRoot;
use vmm_devices::virtio::Worker;

use crate::files::Files;
use crate::io_thread::IoThread;
use crate::machine::{Error, Machine, Surroundings};

mod acpi;
mod build;
mod cpuid;
mod devices;
mod irq_routing;
mod kernel;
mod kvm;
mod layout;
mod memory;
mod power;
mod pre_fault;
mod registers;
mod state;
mod vcpu;
mod vectors;

pub(crate) use build::BuildError;
pub(crate) use devices::AttachError;
pub use kvm::{Kvm, KvmError};
pub(crate) use state::Denied;

use devices::Wires;
use state::{Event, MachineState};
use vcpu::{Buses, RunningVcpus, Vcpu};

/// A machine of ours.
pub(crate) struct Builtin {
    state: MachineState,
    surroundings: Surroundings,
    /// Until it boots.
    vcpus: Vec<Vcpu>,
    /// From then on.
    running: Option<RunningVcpus>,
    /// What it is made of, until it stops.
    parts: Option<Parts>,
    /// Bytes of its memory that KVM knew before it ran.
    pre_faulted: u64,
    /// What had been counted by then.
    counted: Vec<(String, u64)>,
}

/// What holds resources of the host.
struct Parts {
    buses: Buses,
    root: Arc<PciRoot>,
    wires: Wires,
    threads: Threads,
    devices: BTreeMap<u8, Device>,
    has_fs: bool,
}

impl Parts {
    /// What devices have counted. Those of one kind are counted together.
    fn counters(&self) -> Vec<(String, u64)> {
        let mut sums = BTreeMap::new();
        let devices = self.devices.values();
        for (name, count) in devices.flat_map(|device| device.worker.counters()) {
            *sums.entry(name.to_owned()).or_default() += count;
        }
        sums.into_iter().collect()
    }
}

impl Drop for Parts {
    /// Takes the devices out, which then let go of guest memory, and unties buses and root, which
    /// know each other.
    fn drop(&mut self) {
        for slot in self.devices.keys() {
            self.root.unplug(*slot);
        }
        self.buses.memory.remove(layout::ECAM.start);
        self.buses
            .ports
            .remove(layout::PCI_CONFIG_PORTS.start.into());
    }
}

/// A virtio device in its slot.
struct Device {
    worker: Arc<Worker>,
    thread: Thread,
    /// Its serial number, if it was attached on request.
    attached: Option<String>,
}

/// Which thread works for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thread {
    /// Answers at once.
    Io,
    /// May wait for the host's disks; streams and logs don't wait with it.
    Disk,
    /// Moves frames, of which there may be so many that others would wait.
    Net,
}

struct Threads {
    io: IoThread,
    disk: IoThread,
    /// In machines with interfaces.
    net: Option<IoThread>,
}

impl Threads {
    fn get(&self, thread: Thread) -> &IoThread {
        match thread {
            Thread::Io => &self.io,
            Thread::Disk => &self.disk,
            Thread::Net => self.net.as_ref().unwrap_or(&self.io),
        }
    }
}

impl Builtin {
    /// Builds the machine that `spec` describes, up to the point where its vCPUs could run.
    pub(crate) fn build(
        spec: &MachineSpec,
        files: &Files,
        surroundings: Surroundings,
    ) -> Result<Self, BuildError> {
        build::build(spec, files, surroundings)
    }

    fn change(&mut self) -> Result<&mut Parts, Error> {
        self.state = self.state.apply(Event::Change)?;
        Ok(self
            .parts
            .as_mut()
            .expect("a running machine has its parts"))
    }
}

impl Machine for Builtin {
    fn boot(&mut self) -> Result<(), Error> {
        self.state = self.state.apply(Event::Boot)?;
        let vcpus = std::mem::take(&mut self.vcpus);
        let Surroundings { filters, end, .. } = &self.surroundings;
        self.running = Some(RunningVcpus::start(vcpus, filters, end)?);
        Ok(())
    }

    fn attach(&mut self, device: &DeviceSpec, files: &Files) -> Result<DeviceAddress, Error> {
        let parts = self.change()?;
        Ok(parts.attach(device, files)?)
    }

    fn detach(&mut self, address: DeviceAddress) -> Result<(), Error> {
        let parts = self.change()?;
        Ok(parts.detach(address)?)
    }

    fn attached(&self) -> Vec<(DeviceAddress, String)> {
        let devices = self.parts.iter().flat_map(|parts| &parts.devices);
        devices
            .filter_map(|(slot, device)| {
                let serial = device.attached.clone()?;
                Some((DeviceAddress { slot: *slot }, serial))
            })
            .collect()
    }

    fn counters(&self) -> Vec<(String, u64)> {
        let counted = || self.counted.clone();
        let mut counters = self.parts.as_ref().map_or_else(counted, Parts::counters);
        counters.push(("memory_pre_faulted_bytes".to_owned(), self.pre_faulted));
        counters
    }

    fn stop(&mut self) {
        let stopped = self.state.apply(Event::Stop);
        self.state = stopped.expect("a machine can always be stopped");
        // Before the parts, so that no vCPU finds a device or its memory gone.
        self.running = None;
        self.vcpus.clear();
        if let Some(parts) = self.parts.take() {
            self.counted = parts.counters();
        }
    }
}

impl Drop for Builtin {
    fn drop(&mut self) {
        self.stop();
    }
}
