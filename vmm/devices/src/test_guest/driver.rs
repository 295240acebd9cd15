//! A driver that finds its device as Linux does: by the capabilities in configuration space.

use super::machine::{ECAM, TestMachine};
use super::ring::Ring;

const CAP_VENDOR: u64 = 0x09;
const CAP_MSIX: u64 = 0x11;

/// virtio registers, by their offset in the common configuration.
pub(crate) mod common {
    pub(crate) const DEVICE_FEATURE_SELECT: u64 = 0;
    pub(crate) const DEVICE_FEATURE: u64 = 4;
    pub(crate) const DRIVER_FEATURE_SELECT: u64 = 8;
    pub(crate) const DRIVER_FEATURE: u64 = 12;
    pub(crate) const CONFIG_VECTOR: u64 = 16;
    pub(crate) const NUM_QUEUES: u64 = 18;
    pub(crate) const STATUS: u64 = 20;
    pub(crate) const QUEUE_SELECT: u64 = 22;
    pub(crate) const QUEUE_SIZE: u64 = 24;
    pub(crate) const QUEUE_VECTOR: u64 = 26;
    pub(crate) const QUEUE_ENABLE: u64 = 28;
    pub(crate) const QUEUE_NOTIFY_OFF: u64 = 30;
    pub(crate) const QUEUE_DESC: u64 = 32;
    pub(crate) const QUEUE_DRIVER: u64 = 40;
    pub(crate) const QUEUE_DEVICE: u64 = 48;
}

/// A function as its driver has found it.
pub(crate) struct PciDriver<'a> {
    pub(crate) machine: &'a TestMachine,
    slot: u8,
    pub(crate) common: u64,
    pub(crate) isr: u64,
    pub(crate) device: u64,
    pub(crate) notify: u64,
    pub(crate) notify_multiplier: u64,
    pub(crate) msix_control: u64,
    pub(crate) msix_table: u64,
    pub(crate) msix_pending: u64,
    pub(crate) window: u64,
}

impl<'a> PciDriver<'a> {
    /// Sizes the BAR, lets it answer and walks the capabilities.
    pub(crate) fn probe(machine: &'a TestMachine, slot: u8) -> Self {
        let mut driver = Self {
            machine,
            slot,
            common: 0,
            isr: 0,
            device: 0,
            notify: 0,
            notify_multiplier: 0,
            msix_control: 0,
            msix_table: 0,
            msix_pending: 0,
            window: 0,
        };
        driver.write_config(0x04, 2, 0x0406);
        let bar = driver.bar();
        let mut at = driver.config(0x34, 1);
        while at != 0 {
            driver.note(at, bar);
            at = driver.config(at + 1, 1);
        }
        driver
    }

    fn note(&mut self, at: u64, bar: u64) {
        let address = bar + self.config(at + 8, 4);
        match (self.config(at, 1), self.config(at + 3, 1)) {
            (CAP_VENDOR, 1) => self.common = address,
            (CAP_VENDOR, 2) => {
                self.notify = address;
                self.notify_multiplier = self.config(at + 16, 4);
            }
            (CAP_VENDOR, 3) => self.isr = address,
            (CAP_VENDOR, 4) => self.device = address,
            (CAP_VENDOR, 5) => self.window = at,
            (CAP_MSIX, _) => {
                self.msix_control = at + 2;
                self.msix_table = bar + (self.config(at + 4, 4) & !7);
                self.msix_pending = bar + (self.config(at + 8, 4) & !7);
            }
            _ => {}
        }
    }

    pub(crate) fn config(&self, offset: u64, len: usize) -> u64 {
        self.machine.read(self.config_address(offset), len)
    }

    pub(crate) fn write_config(&self, offset: u64, len: usize, value: u64) {
        self.machine.write(self.config_address(offset), len, value);
    }

    fn config_address(&self, offset: u64) -> u64 {
        ECAM + (u64::from(self.slot) << 15) + offset
    }

    pub(crate) fn bar(&self) -> u64 {
        self.config(0x10, 4)
    }

    pub(crate) fn get(&self, register: u64, len: usize) -> u64 {
        self.machine.read(self.common + register, len)
    }

    pub(crate) fn set(&self, register: u64, len: usize, value: u64) {
        self.machine.write(self.common + register, len, value);
    }

    pub(crate) fn status(&self) -> u64 {
        self.get(common::STATUS, 1)
    }

    pub(crate) fn set_status(&self, status: u64) {
        self.set(common::STATUS, 1, status);
    }

    pub(crate) fn offered_features(&self) -> u64 {
        let half = |select| {
            self.set(common::DEVICE_FEATURE_SELECT, 4, select);
            self.get(common::DEVICE_FEATURE, 4)
        };
        half(0) | half(1) << 32
    }

    /// From reset to FEATURES_OK, accepting all features but event indices.
    pub(crate) fn negotiate(&self) {
        self.set_status(0);
        self.set_status(1);
        self.set_status(3);
        self.accept(self.offered_features() & !(1 << 29));
        self.set_status(11);
        assert_eq!(self.status(), 11);
    }

    pub(crate) fn accept(&self, features: u64) {
        for select in 0..2 {
            self.set(common::DRIVER_FEATURE_SELECT, 4, select);
            self.set(
                common::DRIVER_FEATURE,
                4,
                features >> (32 * select) & 0xffff_ffff,
            );
        }
    }

    /// Enables MSI-X, with vector `n` sending data `n`, all unmasked.
    pub(crate) fn enable_msix(&self, vectors: u64) {
        self.write_config(self.msix_control, 2, 1 << 15);
        for vector in 0..vectors {
            let entry = self.msix_table + 16 * vector;
            self.machine.write(entry, 4, 0xfee0_0000);
            self.machine.write(entry + 4, 4, 0);
            self.machine.write(entry + 8, 4, vector);
            self.machine.write(entry + 12, 4, 0);
        }
    }

    /// Tells the device where `ring` is, as queue `index` with vector `index` + 1, and enables it.
    pub(crate) fn set_up_queue(&self, index: u16, ring: &Ring) {
        self.set(common::QUEUE_SELECT, 2, index.into());
        self.set(common::QUEUE_SIZE, 2, ring.layout.size.into());
        self.set(common::QUEUE_VECTOR, 2, u64::from(index) + 1);
        self.set_address(common::QUEUE_DESC, ring.layout.descriptors);
        self.set_address(common::QUEUE_DRIVER, ring.layout.available);
        self.set_address(common::QUEUE_DEVICE, ring.layout.used);
        self.set(common::QUEUE_ENABLE, 2, 1);
    }

    pub(crate) fn set_address(&self, register: u64, address: u64) {
        self.set(register, 4, address & 0xffff_ffff);
        self.set(register + 4, 4, address >> 32);
    }

    /// All the way to a working device, with a ring of `size` for each queue.
    pub(crate) fn start(&self, size: u16) -> Vec<Ring> {
        self.negotiate();
        let queues = u16::try_from(self.get(common::NUM_QUEUES, 2)).unwrap();
        self.enable_msix(u64::from(queues) + 1);
        self.set(common::CONFIG_VECTOR, 2, 0);
        let rings: Vec<_> = (0..queues)
            .map(|_| Ring::new(&self.machine.ram, size))
            .collect();
        for (index, ring) in (0..).zip(&rings) {
            self.set_up_queue(index, ring);
        }
        self.set_status(15);
        assert_eq!(self.status(), 15);
        rings
    }

    pub(crate) fn notify(&self, queue: u16) {
        self.set(common::QUEUE_SELECT, 2, queue.into());
        let offset = self.get(common::QUEUE_NOTIFY_OFF, 2) * self.notify_multiplier;
        self.machine.write(self.notify + offset, 2, queue.into());
    }
}
