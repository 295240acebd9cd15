//! A machine without vCPUs round one device: memory, a bus, and recorders in the place of KVM.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryMmap};
use vmm_devices::pci::PciRoot;
use vmm_devices::virtio::transport::{VirtioPci, Wiring};
use vmm_devices::virtio::{Memory, VirtioDevice, Worker};
use vmm_devices::{Bus, MsiMessage, MsiVectors, NotifierBinder};
use vmm_sys_util::eventfd::EventFd;

use crate::{Attack, Step};

/// Memory is two regions that touch.
const SEAM: usize = 0x1_0000;
const END: u32 = 0x2_0000;
/// Where BARs may be, and where the driver puts the device's.
const WINDOW: std::ops::Range<u32> = 0xc000_0000..0xc010_0000;
const BAR: u32 = 0xc000_0000;
/// Rings of a queue: table, available, used. Each has its page, so that they can overlap by intent only.
const RINGS: u64 = 0x3000;
/// All the steps of a driver that is ready (virtio 1.2 §2.1).
const READY: u8 = 15;
/// Where in the BAR vectors are programmed, and the id of the capability.
const MSIX_TABLE: u16 = 0x4000;
const MSIX: u8 = 0x11;
const MAX_STEPS: usize = 256;

/// The machine with its device.
pub struct Machine {
    bus: Arc<Bus>,
    root: Arc<PciRoot>,
    slot: u8,
    memory: Memory,
    worker: Worker,
    queues: u16,
    sizes: [u16; 3],
    offered: [u16; 3],
}

impl Machine {
    /// Plugs `device` in.
    pub fn new(device: impl VirtioDevice + 'static) -> Self {
        let bus = Arc::new(Bus::new());
        let root = PciRoot::new(Arc::clone(&bus), WINDOW);
        let queues = u16::try_from(device.queue_sizes().len()).expect("a device has few queues");
        let regions = [(GuestAddress(0), SEAM), (GuestAddress(SEAM as u64), SEAM)];
        let memory = GuestMemoryMmap::from_ranges(&regions).expect("memory can be mapped");
        let memory = Memory::new(memory);
        let wiring = Wiring {
            memory: memory.clone(),
            vectors: Arc::new(Vectors::default()),
            binder: Arc::new(Binder::default()),
            // A host that can't is no fault of the device's.
            on_failure: Arc::new(|_| {}),
        };
        let (function, worker) =
            VirtioPci::new(Box::new(device), wiring).expect("descriptors can be made");
        let slot = root.plug(function).expect("there is a free slot");
        Self {
            bus,
            root,
            slot,
            memory,
            worker,
            queues,
            sizes: [0; 3],
            offered: [0; 3],
        }
    }

    /// Lets the guest do all of it.
    pub fn suffer(&mut self, attack: &Attack<'_>) {
        self.sizes = attack.queue_sizes.map(|power| 1 << (power % 5));
        self.set_up(attack.without);
        assert_eq!(
            self.status(),
            READY,
            "a driver that does all right is ready"
        );
        for step in attack.steps.iter().take(MAX_STEPS) {
            self.take(step);
        }
        self.run_all();
        // No end of a guest leaves anything that breaks.
        self.root.unplug(self.slot);
        self.run_all();
    }

    fn take(&mut self, step: &Step<'_>) {
        match *step {
            Step::Write { at, bytes } => self.write_memory(u64::from(at % END), bytes),
            Step::Descriptor {
                queue,
                index,
                address,
                len,
                flags,
                next,
            } => {
                let queue = usize::from(queue) % usize::from(self.queues);
                let [index, next] = [index, next].map(|at| u16::from(at) % (self.sizes[queue] + 1));
                let mut descriptor = Vec::new();
                descriptor.extend(u64::from(address % (END + 0x100)).to_le_bytes());
                descriptor.extend(u32::from(len).to_le_bytes());
                descriptor.extend(u16::from(flags % 8).to_le_bytes());
                descriptor.extend(next.to_le_bytes());
                self.write_memory(rings(queue) + 16 * u64::from(index), &descriptor);
            }
            Step::Offer { queue, head } => self.offer(queue, head),
            Step::WriteBar { at, len, value } => {
                self.write_bar(at % 0x6100, &value.to_le_bytes()[..length(len)]);
            }
            Step::ReadBar { at, len } => {
                let address = u64::from(BAR) + u64::from(at % 0x8100);
                self.bus.read(address, &mut [0; 8][..length(len)]);
            }
            Step::WriteConfig { at, len, value } => {
                let bytes = value.to_le_bytes();
                let at = u16::from(at);
                self.root.write_config(self.slot, at, &bytes[..length(len)]);
            }
            Step::ReadConfig { at, len } => {
                let data = &mut [0; 8][..length(len)];
                self.root.read_config(self.slot, u16::from(at), data);
            }
            Step::Run { token } => self.run(usize::from(token)),
            Step::SetUp { without } => self.set_up(without),
        }
    }

    /// As a driver does (virtio 1.2 §3.1.1, §4.1.4.3).
    fn set_up(&mut self, without: u64) {
        self.root.write_config(self.slot, 0x10, &BAR.to_le_bytes());
        self.root.write_config(self.slot, 4, &[6, 0]);
        for status in [0, 1, 3] {
            self.write_bar(20, &[status]);
        }
        for half in 0..2_u32 {
            self.write_bar(0, &half.to_le_bytes());
            let mut offered = [0; 4];
            self.bus.read(u64::from(BAR) + 4, &mut offered);
            let without = (without >> (32 * half)) as u32 & !half;
            let wanted = u32::from_le_bytes(offered) & !without;
            self.write_bar(8, &half.to_le_bytes());
            self.write_bar(12, &wanted.to_le_bytes());
        }
        self.write_bar(20, &[11]);
        for queue in 0..self.queues {
            let index = usize::from(queue);
            self.write_bar(22, &queue.to_le_bytes());
            self.write_bar(24, &self.sizes[index].to_le_bytes());
            for (register, part) in [(32, 0), (40, 1), (48, 2)] {
                let address = rings(index) + 0x1000 * part;
                self.write_bar(register, &address.to_le_bytes());
            }
            self.write_bar(26, &queue.to_le_bytes());
            self.write_bar(28, &1_u16.to_le_bytes());
            self.write_memory(rings(index) + 0x1000, &[0; 4]);
        }
        self.enable_interrupts();
        self.offered = [0; 3];
        self.write_bar(20, &[READY]);
    }

    /// Gives each queue's vector a route, and lets MSI-X be used.
    fn enable_interrupts(&self) {
        for vector in 0..self.queues {
            let entry = MSIX_TABLE + 16 * vector;
            for (field, value) in [(0, 0xfee0_0000_u32), (4, 0), (8, 0x40), (12, 0)] {
                self.write_bar(entry + field, &value.to_le_bytes());
            }
        }
        let mut at = [0x34];
        self.root.read_config(self.slot, 0x34, &mut at);
        // The list is short, unless it is broken.
        for _ in 0..16 {
            let capability = u16::from(at[0]);
            let mut id = [0];
            self.root.read_config(self.slot, capability, &mut id);
            if id == [MSIX] {
                self.root
                    .write_config(self.slot, capability + 2, &0x8000_u16.to_le_bytes());
            }
            self.root.read_config(self.slot, capability + 1, &mut at);
        }
    }

    fn status(&self) -> u8 {
        let mut status = [0];
        self.bus.read(u64::from(BAR) + 20, &mut status);
        status[0]
    }

    fn offer(&mut self, queue: u8, head: u8) {
        let queue = usize::from(queue) % usize::from(self.queues);
        let size = self.sizes[queue];
        let available = rings(queue) + 0x1000;
        let slot = u64::from(self.offered[queue] % size);
        // One head in a while is no descriptor.
        let head = u16::from(head) % (size + 1);
        self.write_memory(available + 4 + 2 * slot, &head.to_le_bytes());
        self.offered[queue] = self.offered[queue].wrapping_add(1);
        self.write_memory(available + 2, &self.offered[queue].to_le_bytes());
        self.run(queue);
    }

    fn run_all(&self) {
        (0..self.worker.fds().len()).for_each(|token| self.run(token));
    }

    /// What a guest does is never the host's failure.
    fn run(&self, token: usize) {
        let token = token % self.worker.fds().len();
        self.worker.handle(token).expect("the host has not failed");
    }

    fn write_bar(&self, at: u16, bytes: &[u8]) {
        self.bus.write(u64::from(BAR) + u64::from(at), bytes);
    }

    /// What does not fit into memory is left out.
    fn write_memory(&self, at: u64, bytes: &[u8]) {
        let _ = self.memory.memory().write(bytes, GuestAddress(at));
    }
}

fn rings(queue: usize) -> u64 {
    RINGS * queue as u64
}

fn length(len: u8) -> usize {
    1 << (len % 4)
}

/// Which vectors have a route: one without is never raised.
#[derive(Default)]
struct Vectors(Mutex<BTreeSet<u16>>);

impl MsiVectors for Vectors {
    fn route(&self, vector: u16, message: Option<MsiMessage>) -> io::Result<()> {
        match message {
            Some(_) => self.0.lock().insert(vector),
            None => self.0.lock().remove(&vector),
        };
        Ok(())
    }

    fn trigger(&self, vector: u16) -> io::Result<()> {
        assert!(self.0.lock().contains(&vector), "{vector} has no route");
        Ok(())
    }
}

/// Which addresses are bound: none twice, and none is let go that is not.
#[derive(Default)]
struct Binder(Mutex<BTreeSet<u64>>);

impl NotifierBinder for Binder {
    fn bind(&self, address: u64, _notifier: &EventFd) -> io::Result<()> {
        assert!(self.0.lock().insert(address), "{address:#x} is bound twice");
        Ok(())
    }

    fn unbind(&self, address: u64, _notifier: &EventFd) -> io::Result<()> {
        assert!(self.0.lock().remove(&address), "{address:#x} is not bound");
        Ok(())
    }
}
