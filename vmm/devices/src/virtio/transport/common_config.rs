//! `struct virtio_pci_common_cfg`: status, features and where the queues are (virtio 1.2 §4.1.4.3).

use vm_memory::GuestAddressSpace;

use super::interrupt::VirtioInterrupt;
use super::status::{DeviceStatus, NEEDS_RESET};
use crate::guest_warn;
use crate::virtio::queue::{EventIdx, QueueFault, QueueLayout};
use crate::virtio::{Memory, Queue, VirtioDevice};

/// Ring and transport features that every device here offers: indirect descriptors, event indices,
/// version 1.
pub(in crate::virtio) const TRANSPORT_FEATURES: u64 = 1 << 28 | F_EVENT_IDX | F_VERSION_1;
const F_EVENT_IDX: u64 = 1 << 29;
const F_VERSION_1: u64 = 1 << 32;

/// What a write to the registers asks the transport to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Effect {
    None,
    Reset,
    Activate,
}

#[derive(Clone, Copy, Debug)]
struct QueueRegisters {
    max_size: u16,
    enabled: bool,
    layout: QueueLayout,
}

impl QueueRegisters {
    fn reset(max_size: u16) -> Self {
        Self {
            max_size,
            enabled: false,
            layout: QueueLayout {
                size: max_size,
                ..QueueLayout::default()
            },
        }
    }
}

#[derive(Debug)]
pub(super) struct CommonConfig {
    kind: u32,
    offered: u64,
    status: DeviceStatus,
    device_feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    queue_select: u16,
    queues: Vec<QueueRegisters>,
}

impl CommonConfig {
    pub(super) fn new(device: &dyn VirtioDevice) -> Self {
        let sizes = device.queue_sizes().iter();
        Self {
            kind: device.kind(),
            offered: device.features() | TRANSPORT_FEATURES,
            status: DeviceStatus::Reset,
            device_feature_select: 0,
            driver_feature_select: 0,
            driver_features: 0,
            queue_select: 0,
            queues: sizes.map(|size| QueueRegisters::reset(*size)).collect(),
        }
    }

    pub(super) fn kind(&self) -> u32 {
        self.kind
    }

    pub(super) fn driver_features(&self) -> u64 {
        self.driver_features
    }

    /// Forgets everything; the driver waits for [`CommonConfig::finish_reset`].
    pub(super) fn reset(&mut self) {
        self.status = DeviceStatus::Resetting;
        self.device_feature_select = 0;
        self.driver_feature_select = 0;
        self.driver_features = 0;
        self.queue_select = 0;
        for queue in &mut self.queues {
            *queue = QueueRegisters::reset(queue.max_size);
        }
    }

    pub(super) fn is_resetting(&self) -> bool {
        self.status == DeviceStatus::Resetting
    }

    /// Lets the driver start again.
    pub(super) fn finish_reset(&mut self) {
        self.status = DeviceStatus::Reset;
    }

    /// The queues as they were set up; any the driver enabled must be usable.
    pub(super) fn queues(&self, memory: &Memory) -> Result<Vec<Queue>, QueueFault> {
        let event_idx = match self.driver_features & F_EVENT_IDX {
            0 => EventIdx::Absent,
            _ => EventIdx::Negotiated,
        };
        let memory = memory.memory();
        let queues = self.queues.iter().map(|queue| match queue.enabled {
            true => Queue::new(&queue.layout, queue.max_size, event_idx, &memory),
            false => Ok(Queue::off()),
        });
        queues.collect()
    }

    /// Fills `data` with the register at `offset`; zeros unless its width is the register's.
    pub(super) fn read(&self, offset: u64, data: &mut [u8], interrupt: &VirtioInterrupt) {
        let value = match (offset, data.len()) {
            (0, 4) => u64::from(self.device_feature_select),
            (4, 4) => half(self.offered, self.device_feature_select),
            (8, 4) => u64::from(self.driver_feature_select),
            (12, 4) => half(self.driver_features, self.driver_feature_select),
            (16, 2) => u64::from(interrupt.vector(None)),
            (18, 2) => self.queues.len() as u64,
            (20, 1) => u64::from(self.status_bits(interrupt)),
            (21, 1) => u64::from(interrupt.generation()),
            (22, 2) => u64::from(self.queue_select),
            (26, 2) => u64::from(interrupt.vector(Some(self.queue_select))),
            _ => self.read_queue(offset, data.len()),
        };
        for (byte, value) in data.iter_mut().zip(value.to_le_bytes()) {
            *byte = value;
        }
    }

    /// Takes a write to the register at `offset`. One of another width than the register's, one to
    /// a register that is read-only, and one that comes at the wrong time change nothing.
    pub(super) fn write(
        &mut self,
        offset: u64,
        data: &[u8],
        interrupt: &VirtioInterrupt,
    ) -> Effect {
        let value = data
            .iter()
            .rev()
            .take(8)
            .fold(0, |v, b| v << 8 | u64::from(*b));
        match (offset, data.len()) {
            (0, 4) => self.device_feature_select = low_32(value),
            (8, 4) => self.driver_feature_select = low_32(value),
            (12, 4) => self.write_features(low_32(value)),
            (16, 2) => interrupt.set_vector(None, low_16(value)),
            (20, 1) => return self.write_status(data[0]),
            (22, 2) => self.queue_select = low_16(value),
            (26, 2) => interrupt.set_vector(Some(self.queue_select), low_16(value)),
            _ => self.write_queue(offset, data.len(), value),
        }
        Effect::None
    }

    fn status_bits(&self, interrupt: &VirtioInterrupt) -> u8 {
        let broken = if interrupt.is_broken() {
            NEEDS_RESET
        } else {
            0
        };
        self.status.bits() | broken
    }

    fn write_status(&mut self, bits: u8) -> Effect {
        let Ok(next) = self.status.apply(bits) else {
            guest_warn!(kind = self.kind, status = ?self.status, bits, "the driver skips a step");
            return Effect::None;
        };
        match next {
            DeviceStatus::Reset => return Effect::Reset,
            // virtio 1.2 §3.1.1: the driver reads back that its features were not accepted.
            DeviceStatus::FeaturesOk if !self.features_acceptable() => {
                guest_warn!(
                    kind = self.kind,
                    features = self.driver_features,
                    "the driver wants features that were not offered"
                );
                return Effect::None;
            }
            DeviceStatus::DriverOk if self.status != next => {
                self.status = next;
                return Effect::Activate;
            }
            _ => self.status = next,
        }
        Effect::None
    }

    fn features_acceptable(&self) -> bool {
        self.driver_features & !self.offered == 0 && self.driver_features & F_VERSION_1 != 0
    }

    fn write_features(&mut self, value: u32) {
        if self.status != DeviceStatus::Driver {
            return;
        }
        self.driver_features = match self.driver_feature_select {
            0 => with_low(self.driver_features, value),
            1 => with_high(self.driver_features, value),
            // Features that do not exist: refused at FEATURES_OK if they were wanted.
            _ => self.driver_features,
        };
    }

    fn read_queue(&self, offset: u64, len: usize) -> u64 {
        let Some(queue) = self.queues.get(usize::from(self.queue_select)) else {
            return 0;
        };
        let layout = &queue.layout;
        match (offset, len) {
            (24, 2) => u64::from(layout.size),
            (28, 2) => u64::from(queue.enabled),
            (30, 2) => u64::from(self.queue_select),
            (32, 4 | 8) => layout.descriptors,
            (36, 4) => layout.descriptors >> 32,
            (40, 4 | 8) => layout.available,
            (44, 4) => layout.available >> 32,
            (48, 4 | 8) => layout.used,
            (52, 4) => layout.used >> 32,
            _ => 0,
        }
    }

    /// Queues are set up between FEATURES_OK and DRIVER_OK, each until it is enabled. Later the
    /// device relies on them (CVE-2026-5747).
    fn write_queue(&mut self, offset: u64, len: usize, value: u64) {
        let queue = match self.queues.get_mut(usize::from(self.queue_select)) {
            Some(queue) if self.status == DeviceStatus::FeaturesOk && !queue.enabled => queue,
            _ => return,
        };
        let layout = &mut queue.layout;
        match (offset, len) {
            (24, 2) => write_size(queue, low_16(value)),
            (28, 2) => queue.enabled = value == 1,
            (32, 4) => layout.descriptors = with_low(layout.descriptors, low_32(value)),
            (36, 4) => layout.descriptors = with_high(layout.descriptors, low_32(value)),
            (32, 8) => layout.descriptors = value,
            (40, 4) => layout.available = with_low(layout.available, low_32(value)),
            (44, 4) => layout.available = with_high(layout.available, low_32(value)),
            (40, 8) => layout.available = value,
            (48, 4) => layout.used = with_low(layout.used, low_32(value)),
            (52, 4) => layout.used = with_high(layout.used, low_32(value)),
            (48, 8) => layout.used = value,
            _ => {}
        }
    }
}

fn write_size(queue: &mut QueueRegisters, size: u16) {
    if size.is_power_of_two() && size <= queue.max_size {
        queue.layout.size = size;
    } else {
        guest_warn!(
            size,
            max = queue.max_size,
            "the driver wants a queue size that is not allowed"
        );
    }
}

/// The 32 feature bits that `select` means.
fn half(features: u64, select: u32) -> u64 {
    match select {
        0 => u64::from(low_32(features)),
        1 => features >> 32,
        _ => 0,
    }
}

fn low_16(value: u64) -> u16 {
    let [a, b, ..] = value.to_le_bytes();
    u16::from_le_bytes([a, b])
}

fn low_32(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn with_low(value: u64, low: u32) -> u64 {
    value & !0xffff_ffff | u64::from(low)
}

fn with_high(value: u64, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low_32(value))
}
