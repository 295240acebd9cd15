//! Virtio over PCI, modern only (virtio 1.2 §4.1): registers in a BAR around a [`VirtioDevice`].

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

pub mod capabilities;
mod common_config;
mod interrupt;
pub mod status;

use self::capabilities::{ConfigWindow, Region};
pub(super) use self::common_config::TRANSPORT_FEATURES;
use self::common_config::{CommonConfig, Effect};
use self::interrupt::VirtioInterrupt;
use super::worker::{SharedVirtio, signal};
use super::{ActivateError, Activation, Memory, VirtioDevice, Worker};
use crate::pci::{ConfigSpace, Identity, PciFunction, msix::Msix};
use crate::{Interrupt, MsiVectors, NotifierBinder, guest_warn, host_warn};

const VENDOR: u16 = 0x1af4;
/// virtio 1.2 §4.1.2: a device's PCI id is this plus its type.
const FIRST_DEVICE: u16 = 0x1040;

/// What a machine gives every virtio device.
pub struct Wiring {
    /// The guest's memory.
    pub memory: Memory,
    /// [`vector_count`] interrupt vectors for this device.
    pub vectors: Arc<dyn MsiVectors>,
    /// Who makes notifications reach event descriptors.
    pub binder: Arc<dyn NotifierBinder>,
    /// Who is told that the device can't start.
    pub on_failure: OnFailure,
}

/// Told that a device can't start, because of the host. Its driver is told, too, but the guest may well
/// go on without it.
pub type OnFailure = Arc<dyn Fn(&ActivateError) + Send + Sync>;

/// How many interrupt vectors `device` has: one for its configuration, one for each queue.
pub fn vector_count(device: &dyn VirtioDevice) -> u16 {
    u16::try_from(device.queue_sizes().len() + 1).expect("a device has few queues")
}

/// A virtio device as a PCI function.
pub struct VirtioPci {
    config: ConfigSpace,
    msix_control: u16,
    window: ConfigWindow,
    common: CommonConfig,
    device: SharedVirtio,
    memory: Memory,
    interrupt: Arc<VirtioInterrupt>,
    notifiers: Arc<[EventFd]>,
    binder: Arc<dyn NotifierBinder>,
    on_failure: OnFailure,
    bar: Option<u64>,
    unplugged: bool,
}

impl VirtioPci {
    /// Makes `device` a function to plug in and a worker for the I/O thread to run.
    pub fn new(device: Box<dyn VirtioDevice>, wiring: Wiring) -> io::Result<(Self, Worker)> {
        let msix = Arc::new(Msix::new(vector_count(&*device), wiring.vectors));
        let queues = device.queue_sizes().len();
        let mut config = ConfigSpace::new(&identity(device.kind()), Some(capabilities::BAR_SIZE));
        let msix_control = msix.add_capability(
            &mut config,
            Region::MsixTable.start(),
            Region::MsixPending.start(),
        );
        let window = capabilities::add(&mut config, queues);
        let notifiers = (0..queues)
            .map(|_| EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC))
            .collect::<io::Result<Arc<[EventFd]>>>()?;
        let common = CommonConfig::new(&*device);
        let device = Arc::new(Mutex::new(device));
        let worker = Worker::new(Arc::clone(&device), Arc::clone(&notifiers))?;
        let function = Self {
            config,
            msix_control,
            window,
            common,
            device,
            memory: wiring.memory,
            interrupt: Arc::new(VirtioInterrupt::new(msix, queues)),
            notifiers,
            binder: wiring.binder,
            on_failure: wiring.on_failure,
            bar: None,
            unplugged: false,
        };
        Ok((function, worker))
    }

    fn write_common(&mut self, offset: u64, data: &[u8]) {
        self.try_finish_reset();
        match self.common.write(offset, data, &self.interrupt) {
            Effect::None => {}
            Effect::Reset => self.reset(),
            Effect::Activate => self.activate(),
        }
    }

    /// The driver is ready. If the queues it set up can't be used, it is told to start again.
    fn activate(&mut self) {
        let queues = match self.common.queues(&self.memory) {
            Ok(queues) => queues,
            Err(fault) => {
                let kind = self.common.kind();
                guest_warn!(kind, %fault, "the driver set up a bad queue");
                return self.interrupt.needs_reset();
            }
        };
        let activation = Activation {
            memory: self.memory.clone(),
            queues,
            interrupt: Arc::clone(&self.interrupt) as Arc<dyn Interrupt>,
            features: self.common.driver_features(),
            notifiers: Arc::clone(&self.notifiers),
        };
        if let Err(error) = self.device.lock().activate(activation) {
            let cause = error.source.to_string();
            host_warn!(kind = self.common.kind(), %error, cause, "a device can't start");
            self.interrupt.needs_reset();
            (self.on_failure)(&error);
        }
    }

    fn reset(&mut self) {
        self.device.lock().reset();
        self.common.reset();
        self.interrupt.reset();
        self.try_finish_reset();
    }

    /// Ends a reset once nobody touches guest memory for the device any more. The driver asks for it, again
    /// and again, so nobody has to wait here.
    fn try_finish_reset(&mut self) {
        if self.common.is_resetting() && self.device.lock().is_quiet() {
            self.common.finish_reset();
        }
    }

    /// A notification that the machine didn't catch.
    fn notify(&self, offset: u64) {
        let queue = usize::try_from(offset / u64::from(capabilities::NOTIFY_MULTIPLIER));
        let notifier = queue.ok().and_then(|q| self.notifiers.get(q));
        if let Some(Err(error)) = notifier.map(signal) {
            host_warn!(%error, "a queue notification is lost");
        }
    }

    fn bind(&self, bar: u64) {
        for (address, notifier) in self.notify_addresses(bar) {
            if let Err(error) = self.binder.bind(address, notifier) {
                host_warn!(address, %error, "a queue is notified the slow way");
            }
        }
    }

    fn unbind(&self, bar: u64) {
        for (address, notifier) in self.notify_addresses(bar) {
            if let Err(error) = self.binder.unbind(address, notifier) {
                host_warn!(address, %error, "a queue's notifier stays bound");
            }
        }
    }

    fn notify_addresses(&self, bar: u64) -> impl Iterator<Item = (u64, &EventFd)> {
        let first = bar + u64::from(Region::Notify.start());
        let addresses = (first..).step_by(capabilities::NOTIFY_MULTIPLIER as usize);
        addresses.zip(self.notifiers.iter())
    }
}

impl PciFunction for VirtioPci {
    fn config(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn read_config(&mut self, offset: u16, data: &mut [u8]) {
        if let Some(access) = self.window.access(&self.config, offset, data.len()) {
            return self.read_bar(access, data);
        }
        self.config.read(offset, data);
    }

    fn write_config(&mut self, offset: u16, data: &[u8]) {
        if let Some(access) = self.window.access(&self.config, offset, data.len()) {
            return self.write_bar(access, data);
        }
        self.config.write(offset, data);
        let control = self.config.word(self.msix_control);
        self.interrupt.msix().set_control(control);
    }

    fn read_bar(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let Some((region, offset)) = Region::at(offset) else {
            return;
        };
        match region {
            Region::Common => {
                self.try_finish_reset();
                self.common.read(offset, data, &self.interrupt);
            }
            Region::Isr => {
                if let (0, Some(byte)) = (offset, data.first_mut()) {
                    *byte = self.interrupt.take_isr();
                }
            }
            Region::Device => self.device.lock().read_config(offset, data),
            Region::Notify => {}
            Region::MsixTable => self.interrupt.msix().read_table(offset, data),
            Region::MsixPending => self.interrupt.msix().read_pending(offset, data),
        }
    }

    fn write_bar(&mut self, offset: u64, data: &[u8]) {
        let region = Region::at(offset).filter(|_| !self.unplugged);
        let Some((region, offset)) = region else {
            return;
        };
        match region {
            Region::Common => self.write_common(offset, data),
            Region::Device => self.device.lock().write_config(offset, data),
            Region::Notify => self.notify(offset),
            Region::MsixTable => self.interrupt.msix().write_table(offset, data),
            Region::Isr | Region::MsixPending => {}
        }
    }

    fn bar_moved(&mut self, address: Option<u64>) {
        if let Some(old) = self.bar.take() {
            self.unbind(old);
        }
        if let Some(new) = address {
            self.bind(new);
        }
        self.bar = address;
    }

    fn unplugged(&mut self) {
        self.reset();
        // A vCPU's write that was on its way must not wake the device up again.
        self.unplugged = true;
        // Routes the driver left behind must not outlive the function.
        self.interrupt.msix().set_control(0);
    }
}

fn identity(kind: u32) -> Identity {
    // What a guest lists the function as. Drivers go by vendor and device.
    let class = match kind {
        1 => 0x02_00_00,
        2 | 26 => 0x01_80_00,
        5 | 24 => 0x05_80_00,
        19 => 0x07_80_00,
        _ => 0xff_00_00,
    };
    Identity {
        vendor: VENDOR,
        device: FIRST_DEVICE + u16::try_from(kind).expect("a device type is a small number"),
        // virtio 1.2 §4.1.2.1: 1 or higher for devices that are not transitional.
        revision: 1,
        class,
        subsystem_vendor: VENDOR,
        subsystem: 0x1100,
    }
}

#[cfg(test)]
mod tests;
