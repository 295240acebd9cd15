//! A machine without vCPUs: buses, PCI, and recorders of what would be KVM's part.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use vmm_sys_util::eventfd::EventFd;

use super::GuestRam;
use crate::bus::Bus;
use crate::pci::{Ecam, PciRoot, ecam};
use crate::virtio::transport::{VirtioPci, Wiring};
use crate::virtio::{VirtioDevice, Worker};
use crate::{MsiMessage, MsiVectors, NotifierBinder};

/// Where configuration space is.
pub(crate) const ECAM: u64 = 0xe000_0000;
/// Where BARs may be.
pub(crate) const WINDOW: std::ops::Range<u32> = 0xc000_0000..0xc080_0000;

/// Routes and raised vectors of one function.
#[derive(Default)]
pub(crate) struct RecordingVectors {
    routes: Mutex<BTreeMap<u16, MsiMessage>>,
    raised: Mutex<Vec<u16>>,
    bound: Mutex<BTreeSet<u16>>,
}

impl RecordingVectors {
    pub(crate) fn routes(&self) -> BTreeMap<u16, MsiMessage> {
        self.routes.lock().clone()
    }

    /// The vectors raised since this was asked last.
    pub(crate) fn take_raised(&self) -> Vec<u16> {
        std::mem::take(&mut self.raised.lock())
    }

    /// Which vectors events raise.
    pub(crate) fn bound(&self) -> Vec<u16> {
        self.bound.lock().iter().copied().collect()
    }
}

impl MsiVectors for RecordingVectors {
    fn route(&self, vector: u16, message: Option<MsiMessage>) -> io::Result<()> {
        self.bound.lock().remove(&vector);
        match message {
            Some(message) => self.routes.lock().insert(vector, message),
            None => self.routes.lock().remove(&vector),
        };
        Ok(())
    }

    fn trigger(&self, vector: u16) -> io::Result<()> {
        let routed = self.routes.lock().contains_key(&vector);
        assert!(routed, "vector {vector} is raised while it has no route");
        self.raised.lock().push(vector);
        Ok(())
    }

    fn bind(&self, vector: u16, _event: &Arc<EventFd>) -> io::Result<()> {
        let routed = self.routes.lock().contains_key(&vector);
        assert!(routed, "vector {vector} is bound while it has no route");
        self.bound.lock().insert(vector);
        Ok(())
    }
}

/// Which addresses signal what.
#[derive(Default)]
pub(crate) struct RecordingBinder {
    bound: Mutex<BTreeMap<u64, EventFd>>,
}

impl RecordingBinder {
    /// What a guest's write does before it reaches a device: true if it was caught.
    pub(crate) fn catch(&self, address: u64) -> bool {
        let bound = self.bound.lock();
        bound.get(&address).is_some_and(|fd| fd.write(1).is_ok())
    }

    pub(crate) fn addresses(&self) -> Vec<u64> {
        self.bound.lock().keys().copied().collect()
    }
}

impl NotifierBinder for RecordingBinder {
    fn bind(&self, address: u64, notifier: &EventFd) -> io::Result<()> {
        let before = self.bound.lock().insert(address, notifier.try_clone()?);
        assert!(before.is_none(), "{address:#x} is bound twice");
        Ok(())
    }

    fn unbind(&self, address: u64, _notifier: &EventFd) -> io::Result<()> {
        let before = self.bound.lock().remove(&address);
        assert!(before.is_some(), "{address:#x} is not bound");
        Ok(())
    }
}

pub(crate) struct TestMachine {
    pub(crate) bus: Arc<Bus>,
    pub(crate) root: Arc<PciRoot>,
    pub(crate) ram: GuestRam,
    pub(crate) binder: Arc<RecordingBinder>,
    /// What devices could not do when they were to start.
    pub(crate) failures: Arc<Mutex<Vec<&'static str>>>,
}

/// A device that was plugged in.
pub(crate) struct Plugged {
    pub(crate) slot: u8,
    pub(crate) worker: Worker,
    pub(crate) vectors: Arc<RecordingVectors>,
}

impl Plugged {
    /// Lets the I/O thread take notice of every descriptor once.
    pub(crate) fn run(&self) {
        for token in 0..self.worker.fds().len() {
            self.worker.handle(token).unwrap();
        }
    }
}

impl TestMachine {
    pub(crate) fn new() -> Self {
        let bus = Arc::new(Bus::new());
        let root = PciRoot::new(Arc::clone(&bus), WINDOW);
        let ecam = Arc::new(Mutex::new(Ecam::new(Arc::clone(&root))));
        bus.insert(ECAM, ecam::BUS_SIZE, ecam).unwrap();
        Self {
            bus,
            root,
            ram: GuestRam::new(),
            binder: Arc::default(),
            failures: Arc::default(),
        }
    }

    pub(crate) fn plug(&self, device: impl VirtioDevice + 'static) -> Plugged {
        let vectors = Arc::new(RecordingVectors::default());
        let failures = Arc::clone(&self.failures);
        let wiring = Wiring {
            memory: self.ram.memory(),
            vectors: Arc::clone(&vectors) as Arc<dyn MsiVectors>,
            binder: Arc::clone(&self.binder) as Arc<dyn NotifierBinder>,
            on_failure: Arc::new(move |error| failures.lock().push(error.doing)),
        };
        let (function, worker) = VirtioPci::new(Box::new(device), wiring).unwrap();
        let slot = self.root.plug(function).unwrap();
        Plugged {
            slot,
            worker,
            vectors,
        }
    }

    /// What a vCPU's read gives; all ones where nobody answers.
    pub(crate) fn read(&self, address: u64, len: usize) -> u64 {
        let mut data = vec![0xff; len];
        if !self.bus.read(address, &mut data) {
            data.fill(0xff);
        }
        data.iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// What a vCPU's write does.
    pub(crate) fn write(&self, address: u64, len: usize, value: u64) {
        if !self.binder.catch(address) {
            let _ = self.bus.write(address, &value.to_le_bytes()[..len]);
        }
    }
}
