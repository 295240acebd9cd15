//! The transport as drivers, good and bad, use it over the bus.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use proptest::prelude::*;

use super::*;
use crate::test_guest::{PciDriver, Plugged, Ring, TestMachine, common};
use crate::virtio::{ActivateError, DeviceError, Progress};

/// A device with two queues and a configuration that can be written, which tells what is done with
/// it.
#[derive(Default)]
struct Probe {
    seen: Arc<Seen>,
    config: [u8; 8],
    refuse: bool,
}

#[derive(Default)]
struct Seen {
    activations: AtomicUsize,
    resets: AtomicUsize,
    active: Mutex<Option<Activation>>,
    processed: Mutex<Vec<usize>>,
}

impl VirtioDevice for Probe {
    fn kind(&self) -> u32 {
        7
    }

    fn features(&self) -> u64 {
        0b101
    }

    fn queue_sizes(&self) -> &[u16] {
        &[16, 8]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        crate::virtio::config::read(&self.config, offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        for (byte, at) in data.iter().zip(usize::try_from(offset).unwrap()..) {
            if let Some(place) = self.config.get_mut(at) {
                *place = *byte;
            }
        }
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        self.seen.activations.fetch_add(1, SeqCst);
        let before = self.seen.active.lock().replace(activation);
        assert!(before.is_none(), "activated twice without a reset");
        if self.refuse {
            return Err(ActivateError {
                doing: "open a thing",
                source: io::ErrorKind::NotFound.into(),
            });
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.seen.resets.fetch_add(1, SeqCst);
        *self.seen.active.lock() = None;
    }

    fn process_queue(&mut self, queue: usize) -> Result<Progress, DeviceError> {
        self.seen.processed.lock().push(queue);
        Ok(Progress::Idle)
    }
}

fn probe() -> (TestMachine, Plugged, Arc<Seen>) {
    let machine = TestMachine::new();
    let device = Probe::default();
    let seen = Arc::clone(&device.seen);
    let plugged = machine.plug(device);
    (machine, plugged, seen)
}

#[test]
fn a_driver_finds_the_device_and_starts_it() {
    let (machine, plugged, seen) = probe();
    let driver = PciDriver::probe(&machine, plugged.slot);
    assert_eq!(driver.config(0, 4), 0x1047_1af4);
    assert_eq!(
        driver.offered_features(),
        0b101 | 1 << 28 | 1 << 29 | 1 << 32
    );
    driver.start(8);
    let active = seen.active.lock();
    let active = active.as_ref().unwrap();
    assert_eq!(active.queues.len(), 2);
    assert_eq!(active.features, 0b101 | 1 << 28 | 1 << 32);
}

#[test]
fn a_queue_that_was_left_off_stays_empty() {
    let (machine, plugged, seen) = probe();
    let driver = PciDriver::probe(&machine, plugged.slot);
    driver.negotiate();
    driver.set_up_queue(1, &Ring::new(&machine.ram, 8));
    driver.set_status(15);
    let mut active = seen.active.lock();
    let active = active.as_mut().unwrap();
    let memory = vm_memory::GuestAddressSpace::memory(&machine.ram.memory());
    assert_eq!(active.queues[0].pop(&memory), Ok(None));
}

#[test]
fn notifications_and_interrupts_go_to_their_queue() {
    let (machine, plugged, seen) = probe();
    let driver = PciDriver::probe(&machine, plugged.slot);
    driver.start(8);
    driver.notify(1);
    plugged.worker.handle(1).unwrap();
    assert_eq!(*seen.processed.lock(), [1]);

    let interrupt = Arc::clone(&seen.active.lock().as_ref().unwrap().interrupt);
    interrupt.signal_queue(0).unwrap();
    interrupt.signal_config().unwrap();
    assert_eq!(plugged.vectors.take_raised(), [1, 0]);
    assert_eq!(machine.read(driver.isr, 1), 3);
    assert_eq!(machine.read(driver.isr, 1), 0, "reading clears it");
}

#[test]
fn a_notification_arrives_without_an_ioeventfd_too() {
    let (machine, plugged, seen) = probe();
    let driver = PciDriver::probe(&machine, plugged.slot);
    driver.start(8);
    assert!(
        machine
            .bus
            .write(driver.notify + driver.notify_multiplier, &[1, 0])
    );
    plugged.worker.handle(1).unwrap();
    assert_eq!(*seen.processed.lock(), [1]);
}

#[test]
fn features_that_were_not_offered_are_not_accepted() {
    let (machine, plugged, seen) = probe();
    let driver = PciDriver::probe(&machine, plugged.slot);
    for features in [0b111 | 1 << 32, 0b101, 1 << 33 | 1 << 32] {
        driver.set_status(0);
        driver.set_status(1);
        driver.set_status(3);
        driver.accept(features);
        driver.set_status(11);
        assert_eq!(driver.status(), 3, "{features:#x}");
        driver.set_status(15);
        assert_eq!(driver.status(), 3);
    }
    assert_eq!(seen.activations.load(SeqCst), 0);
}

#[test]
fn features_are_settled_once_they_are_agreed_on() {
    let (machine, plugged, seen) = probe();
    let driver = PciDriver::probe(&machine, plugged.slot);
    driver.accept(0b001 | 1 << 32);
    driver.negotiate();
    driver.accept(0);
    driver.set_status(15);
    let active = seen.active.lock();
    assert_eq!(active.as_ref().unwrap().features, 0b101 | 1 << 28 | 1 << 32);
}

#[test]
fn a_reset_stops_the_device_and_forgets_everything() {
    let (machine, plugged, seen) = probe();
    let driver = PciDriver::probe(&machine, plugged.slot);
    driver.start(8);
    driver.set_status(0);
    assert!(seen.active.lock().is_none());
    assert_eq!(driver.status(), 0);
    assert_eq!(driver.get(common::CONFIG_VECTOR, 2), 0xffff);
    driver.set(common::QUEUE_SELECT, 2, 0);
    assert_eq!(driver.get(common::QUEUE_SIZE, 2), 16);
    assert_eq!(driver.get(common::QUEUE_ENABLE, 2), 0);
    assert_eq!(driver.get(common::QUEUE_DESC, 4), 0);
    driver.start(8);
    assert_eq!(seen.activations.load(SeqCst), 2);
}

#[test]
fn a_queue_outside_of_memory_needs_a_reset_and_activates_nothing() {
    let (machine, plugged, seen) = probe();
    let driver = PciDriver::probe(&machine, plugged.slot);
    driver.negotiate();
    driver.enable_msix(3);
    driver.set(common::CONFIG_VECTOR, 2, 0);
    let mut ring = Ring::new(&machine.ram, 8);
    ring.layout.used = 0x7fff_0000;
    driver.set_up_queue(0, &ring);
    driver.set_status(15);
    assert_eq!(driver.status(), 15 | 64);
    assert_eq!(plugged.vectors.take_raised(), [0], "the driver is told");
    assert_eq!(seen.activations.load(SeqCst), 0);
    driver.start(8);
    assert_eq!(seen.activations.load(SeqCst), 1, "a reset helps");
}

#[test]
fn a_device_that_the_host_can_not_start_needs_a_reset_and_the_machine_is_told() {
    let machine = TestMachine::new();
    let plugged = machine.plug(Probe {
        refuse: true,
        ..Probe::default()
    });
    let driver = PciDriver::probe(&machine, plugged.slot);
    driver.negotiate();
    driver.set_status(15);
    assert_eq!(driver.status(), 15 | 64);
    assert_eq!(*machine.failures.lock(), ["open a thing"]);
}

#[test]
fn the_configuration_can_be_read_and_written_to_its_end() {
    let (machine, plugged, _) = probe();
    let driver = PciDriver::probe(&machine, plugged.slot);
    machine.write(driver.device + 4, 4, 0x1234_5678);
    assert_eq!(machine.read(driver.device + 4, 2), 0x5678);
    assert_eq!(machine.read(driver.device + 6, 4), 0x1234);
    assert_eq!(machine.read(driver.device + 0xff8, 8), 0);
}

#[test]
fn the_bar_can_be_reached_through_configuration_space() {
    let (machine, plugged, _) = probe();
    let driver = PciDriver::probe(&machine, plugged.slot);
    let window = driver.window;
    driver.write_config(window + 8, 4, driver.common - driver.bar() + common::STATUS);
    driver.write_config(window + 12, 4, 1);
    driver.write_config(window + 16, 1, 1);
    assert_eq!(driver.status(), 1);
    assert_eq!(driver.config(window + 16, 1), 1);
    // Of the wrong length, of the wrong BAR, beyond the BAR: nothing happens.
    driver.write_config(window + 16, 4, 0);
    driver.write_config(window + 4, 1, 1);
    driver.write_config(window + 16, 1, 0);
    driver.write_config(window + 4, 1, 0);
    driver.write_config(window + 8, 4, 0xffff_fff0);
    driver.write_config(window + 16, 1, 0);
    assert_eq!(driver.status(), 1);
}

#[test]
fn notifiers_are_bound_where_the_bar_is() {
    let (machine, plugged, _) = probe();
    assert!(machine.binder.addresses().is_empty());
    let driver = PciDriver::probe(&machine, plugged.slot);
    assert_eq!(
        machine.binder.addresses(),
        [driver.notify, driver.notify + 4]
    );
    let moved = driver.bar() + 0x10_0000;
    driver.write_config(0x10, 4, moved);
    let driver = PciDriver::probe(&machine, plugged.slot);
    assert_eq!(driver.bar(), moved);
    assert_eq!(
        machine.binder.addresses(),
        [driver.notify, driver.notify + 4]
    );
    assert!(machine.root.unplug(plugged.slot));
    assert!(machine.binder.addresses().is_empty());
}

#[test]
fn a_device_that_is_pulled_out_stops_and_reads_all_ones() {
    let (machine, plugged, seen) = probe();
    let driver = PciDriver::probe(&machine, plugged.slot);
    driver.start(8);
    let status = driver.common + common::STATUS;
    assert!(machine.root.unplug(plugged.slot));
    assert!(seen.active.lock().is_none());
    assert_eq!(plugged.vectors.routes().len(), 0);
    assert_eq!(machine.read(status, 1), 0xff);
    assert_eq!(driver.config(0, 4), 0xffff_ffff);
    plugged.run();
}

/// Anything a driver may do to the registers.
#[derive(Clone, Debug)]
enum Access {
    Write(u64, usize, u64),
    Read(u64, usize),
    Config(u64, usize, u64),
    Notify,
}

fn access() -> impl Strategy<Value = Access> {
    let len = prop::sample::select(vec![1usize, 2, 4, 8]);
    let value = prop_oneof![
        3 => prop::sample::select(vec![0u64, 1, 3, 11, 15, 8, 16, 0xffff]),
        1 => 0x10_0000u64..0x40_0000,
        1 => any::<u64>(),
    ];
    let offset = prop_oneof![4 => 0u64..64, 1 => 0u64..0x8000];
    prop_oneof![
        6 => (offset.clone(), len.clone(), value.clone())
            .prop_map(|(o, l, v)| Access::Write(o, l, v)),
        // The way to a working device, so that some runs get there.
        4 => prop::sample::select(vec![1u64, 3, 11, 15])
            .prop_map(|s| Access::Write(common::STATUS, 1, s)),
        2 => prop::sample::select(vec![0u64, 1])
            .prop_map(|s| Access::Write(common::DRIVER_FEATURE, 4, s)),
        1 => Just(Access::Write(common::DRIVER_FEATURE_SELECT, 4, 1)),
        3 => (offset, len.clone()).prop_map(|(o, l)| Access::Read(o, l)),
        2 => (0u64..0x100, len, value).prop_map(|(o, l, v)| Access::Config(o, l, v)),
        1 => Just(Access::Notify),
    ]
}

proptest! {
    #[test]
    fn no_sequence_of_accesses_breaks_the_transport(
        accesses in proptest::collection::vec(access(), 1..200),
    ) {
        let (machine, plugged, seen) = probe();
        let driver = PciDriver::probe(&machine, plugged.slot);
        for access in accesses {
            let bar = driver.bar();
            match access {
                Access::Write(offset, len, value) => machine.write(bar + offset, len, value),
                Access::Read(offset, len) => drop(machine.read(bar + offset, len)),
                Access::Config(offset, len, value) => driver.write_config(offset, len, value),
                Access::Notify => plugged.run(),
            }
            let active = seen.active.lock();
            if let Some(active) = &*active {
                prop_assert_eq!(active.features & !(0b101 | 0b1_0011 << 28), 0);
                for (queue, max) in active.queues.iter().zip([16, 8]) {
                    prop_assert!(queue.size() <= max);
                }
            }
        }
    }
}
