//! The driver's side of a queue, and a device that is driven without a transport.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use vm_memory::GuestAddressSpace;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::{GuestRam, NEXT, WRITE};
use crate::Interrupt;
use crate::virtio::queue::{EventIdx, QueueLayout};
use crate::virtio::{Activation, DeviceError, Progress, Queue, VirtioDevice};

/// A queue as its driver holds it.
pub(crate) struct Ring {
    pub(crate) layout: QueueLayout,
    pub(crate) ram: GuestRam,
    next_descriptor: u16,
    available: u16,
    seen: u16,
}

/// What a driver remembers of a chain it made available.
#[derive(Clone, Debug)]
pub(crate) struct Added {
    pub(crate) head: u16,
    /// Where the device writes, and how much it may.
    pub(crate) writable: Vec<(u64, u32)>,
}

impl Ring {
    pub(crate) fn new(ram: &GuestRam, size: u16) -> Self {
        let len = u64::from(size);
        let layout = QueueLayout {
            size,
            descriptors: ram.room(16 * len),
            available: ram.room(6 + 2 * len),
            used: ram.room(6 + 8 * len),
        };
        for (start, len) in [(layout.available, 6 + 2 * len), (layout.used, 6 + 8 * len)] {
            ram.write(start, &vec![0; usize::try_from(len).unwrap()]);
        }
        Self {
            layout,
            ram: ram.clone(),
            next_descriptor: 0,
            available: 0,
            seen: 0,
        }
    }

    /// The device's side of it.
    pub(crate) fn queue(&self, event_idx: EventIdx) -> Queue {
        let memory = self.ram.memory();
        Queue::new(&self.layout, 256, event_idx, &memory.memory()).unwrap()
    }

    pub(crate) fn descriptor(&self, index: u16, address: u64, len: u32, flags: u16, next: u16) {
        self.descriptor_at(self.layout.descriptors, index, address, len, flags, next);
    }

    pub(crate) fn descriptor_at(
        &self,
        table: u64,
        index: u16,
        address: u64,
        len: u32,
        flags: u16,
        next: u16,
    ) {
        let at = table + 16 * u64::from(index);
        self.ram.write(at, &address.to_le_bytes());
        self.ram.write(at + 8, &len.to_le_bytes());
        self.ram.write(at + 12, &flags.to_le_bytes());
        self.ram.write(at + 14, &next.to_le_bytes());
    }

    /// Makes the chain at `head` available, whatever it is.
    pub(crate) fn make_available(&mut self, head: u16) {
        let slot = u64::from(self.available % self.layout.size);
        self.ram
            .write(self.layout.available + 4 + 2 * slot, &head.to_le_bytes());
        self.set_available(self.available.wrapping_add(1));
    }

    pub(crate) fn set_available(&mut self, index: u16) {
        self.available = index;
        self.ram
            .write(self.layout.available + 2, &index.to_le_bytes());
    }

    /// Declines or wants interrupts, without event indices.
    pub(crate) fn set_available_flags(&self, flags: u16) {
        self.ram.write(self.layout.available, &flags.to_le_bytes());
    }

    /// Makes a chain of `buffers` available: address, length and flags other than [`NEXT`].
    pub(crate) fn add_buffers(&mut self, buffers: &[(u64, u32, u16)]) -> u16 {
        let size = self.layout.size;
        let head = self.next_descriptor;
        for (position, (address, len, flags)) in buffers.iter().enumerate() {
            let index = self.next_descriptor;
            self.next_descriptor = (index + 1) % size;
            let last = position + 1 == buffers.len();
            let flags = if last { *flags } else { flags | NEXT };
            self.descriptor(index, *address, *len, flags, self.next_descriptor);
        }
        self.make_available(head);
        head
    }

    /// Makes a chain available with a buffer for each of `readable` and room for each of
    /// `writable`.
    pub(crate) fn add(&mut self, readable: &[&[u8]], writable: &[u32]) -> Added {
        let mut buffers: Vec<_> = readable
            .iter()
            .map(|data| (self.ram.place(data), u32::try_from(data.len()).unwrap(), 0))
            .collect();
        let writable: Vec<_> = writable
            .iter()
            .map(|len| (self.ram.room(u64::from(*len)), *len))
            .collect();
        buffers.extend(
            writable
                .iter()
                .map(|(address, len)| (*address, *len, WRITE)),
        );
        Added {
            head: self.add_buffers(&buffers),
            writable,
        }
    }

    /// The next chain the device gave back: its head, and how many bytes the device says it wrote.
    pub(crate) fn used(&mut self) -> Option<(u16, u32)> {
        if self.ram.read_u16(self.layout.used + 2) == self.seen {
            return None;
        }
        let slot = u64::from(self.seen % self.layout.size);
        let element = self.ram.read(self.layout.used + 4 + 8 * slot, 8);
        self.seen = self.seen.wrapping_add(1);
        let head = u32::from_le_bytes(element[..4].try_into().unwrap());
        let len = u32::from_le_bytes(element[4..].try_into().unwrap());
        Some((u16::try_from(head).unwrap(), len))
    }

    /// Whether the device says, without event indices, that it wants to hear of chains.
    pub(crate) fn notifications_wanted(&self) -> bool {
        self.ram.read_u16(self.layout.used) == 0
    }

    /// What the device wrote into `added`, with whatever else is in that room.
    pub(crate) fn written(&self, added: &Added) -> Vec<u8> {
        let parts = added.writable.iter();
        parts
            .flat_map(|(address, len)| self.ram.read(*address, usize::try_from(*len).unwrap()))
            .collect()
    }
}

/// Remembers what a device said.
#[derive(Default)]
pub(crate) struct RecordingInterrupt {
    said: Mutex<Said>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) queues: Vec<u16>,
    pub(crate) config: usize,
    pub(crate) needs_reset: bool,
}

impl RecordingInterrupt {
    pub(crate) fn said(&self) -> Said {
        self.said.lock().clone()
    }
}

impl Interrupt for RecordingInterrupt {
    fn signal_queue(&self, queue: u16) -> io::Result<()> {
        self.said.lock().queues.push(queue);
        Ok(())
    }

    fn signal_config(&self) -> io::Result<()> {
        self.said.lock().config += 1;
        Ok(())
    }

    fn needs_reset(&self) {
        self.said.lock().needs_reset = true;
    }
}

/// An active device with a ring for each of its queues.
pub(crate) struct Direct<D> {
    pub(crate) device: D,
    pub(crate) ram: GuestRam,
    pub(crate) rings: Vec<Ring>,
    pub(crate) interrupt: Arc<RecordingInterrupt>,
}

impl<D: VirtioDevice> Direct<D> {
    pub(crate) fn new(device: D) -> Self {
        let ram = GuestRam::new();
        let mut direct = Self {
            device,
            ram,
            rings: Vec::new(),
            interrupt: Arc::new(RecordingInterrupt::default()),
        };
        direct.activate();
        direct
    }

    /// Activates the device with new rings, as after a reset.
    pub(crate) fn activate(&mut self) {
        self.activate_with(self.device.features());
    }

    /// The same for a driver that knows only `features`.
    pub(crate) fn activate_with(&mut self, features: u64) {
        let sizes = self.device.queue_sizes().iter();
        self.rings = sizes.map(|size| Ring::new(&self.ram, *size)).collect();
        self.interrupt = Arc::new(RecordingInterrupt::default());
        let activation = Activation {
            memory: self.ram.memory(),
            queues: self
                .rings
                .iter()
                .map(|r| r.queue(EventIdx::Absent))
                .collect(),
            interrupt: Arc::clone(&self.interrupt) as Arc<dyn Interrupt>,
            features,
            notifiers: notifiers(self.rings.len()),
        };
        self.device.activate(activation).unwrap();
    }

    /// Lets the device work on `queue` until it has nothing more to do.
    pub(crate) fn run(&mut self, queue: usize) {
        for _ in 0..100 {
            if self.process(queue).unwrap() == Progress::Idle {
                return;
            }
        }
        panic!("the device does not come to an end");
    }

    pub(crate) fn process(&mut self, queue: usize) -> Result<Progress, DeviceError> {
        self.device.process_queue(queue)
    }

    pub(crate) fn needs_reset(&self) -> bool {
        self.interrupt.said().needs_reset
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        let counters = self.device.counters();
        let found = counters.iter().find(|(n, _)| *n == name);
        found
            .unwrap_or_else(|| panic!("there is no counter {name}"))
            .1
    }
}

/// What a transport has for so many queues.
pub(crate) fn notifiers(queues: usize) -> Arc<[EventFd]> {
    let flags = EFD_NONBLOCK | EFD_CLOEXEC;
    (0..queues).map(|_| EventFd::new(flags).unwrap()).collect()
}
