//! Interfaces whose frames the kernel moves: a driver on one side, a TAP device on the other.
//!
//! Needs root, `/dev/vhost-net` and `/dev/net/tun`, and therefore a node.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    unreachable_pub,
    reason = "modules are shared with the crate's own tests"
)]

use std::fs::File;
use std::time::{Duration, Instant};

use vmm_devices::virtio::net::{Interface, Tap, Vhost, VhostNet};
// What the crate's modules know as their own.
use vmm_devices::{Interrupt, MsiMessage, MsiVectors, NotifierBinder, bus, pci, virtio};

#[path = "vhost_net/host.rs"]
mod host;
/// The guest's side, as the crate's own tests have it.
#[allow(dead_code, reason = "those use more of it")]
#[path = "../src/test_guest"]
mod test_guest {
    mod driver;
    mod machine;
    mod ram;
    mod ring;

    pub(crate) use driver::PciDriver;
    pub(crate) use machine::{Plugged, TestMachine};
    pub(crate) use ram::GuestRam;
    pub(crate) use ring::{Added, Ring};

    const NEXT: u16 = 1;
    const WRITE: u16 = 2;
}

use host::Host;
use test_guest::{Added, PciDriver, Plugged, Ring, TestMachine};

const RX: u16 = 0;
const TX: u16 = 1;
/// Of a device with two pairs.
const CONTROL: u16 = 4;

/// Bytes before each frame.
const HEADER: usize = 12;

const NEEDS_RESET: u64 = 0x40;

struct Fixture {
    machine: TestMachine,
    plugged: Plugged,
    host: Host,
}

impl Fixture {
    fn new(pairs: usize) -> Self {
        let (host, queues) = Host::new(pairs);
        let queues = queues.into_iter().map(|queue| {
            let vhost = File::options()
                .read(true)
                .write(true)
                .open("/dev/vhost-net");
            let vhost = Vhost::open(vhost.unwrap().into()).unwrap();
            (Tap::open(queue).unwrap(), vhost)
        });
        let interface = Interface {
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
        };
        let device = VhostNet::new(interface, queues.collect()).unwrap();
        let machine = TestMachine::new();
        let plugged = machine.plug(device);
        Self {
            machine,
            plugged,
            host,
        }
    }

    fn driver(&self) -> PciDriver<'_> {
        PciDriver::probe(&self.machine, self.plugged.slot)
    }

    /// Lets the I/O thread work until `done`.
    #[track_caller]
    fn until(&self, mut done: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !done() {
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "it does not come"
            );
            std::thread::sleep(Duration::from_millis(1));
            self.plugged.run();
        }
    }

    /// Lets the I/O thread work for long enough to have seen something happen.
    fn a_while(&self) {
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(2));
            self.plugged.run();
        }
    }

    fn counter(&self, name: &str) -> u64 {
        let counters = self.plugged.worker.counters();
        counters.into_iter().find(|(n, _)| *n == name).unwrap().1
    }

    /// Sends a frame from the host and gives what the driver finds in `ring`, which is queue `index`.
    #[track_caller]
    fn receive(&self, driver: &PciDriver<'_>, ring: &mut Ring, index: u16) -> Vec<u8> {
        let buffer = ring.add(&[], &[2048]);
        driver.notify(index);
        self.host.send(b"to the guest");
        self.found(ring, &buffer)
    }

    #[track_caller]
    fn found(&self, ring: &mut Ring, buffer: &Added) -> Vec<u8> {
        let mut used = None;
        self.until(|| {
            used = ring.used();
            used.is_some()
        });
        let (head, len) = used.unwrap();
        assert_eq!(head, buffer.head);
        ring.written(buffer)[HEADER..usize::try_from(len).unwrap()].to_vec()
    }

    #[track_caller]
    fn send(&self, driver: &PciDriver<'_>, ring: &mut Ring, index: u16, words: &[u8]) {
        ring.add(&[&[0; HEADER][..], &host::frame(words)], &[]);
        driver.notify(index);
        assert_eq!(self.host.receive().unwrap(), host::frame(words));
        self.until(|| ring.used().is_some());
    }
}

#[test]
fn frames_go_both_ways_without_us_and_interrupts_arrive() {
    let fixture = Fixture::new(1);
    let driver = fixture.driver();
    let mut rings = driver.start(64);
    let frame = fixture.receive(&driver, &mut rings[0], RX);
    assert_eq!(frame, host::frame(b"to the guest"));
    fixture.until(|| fixture.plugged.vectors.take_raised().contains(&(RX + 1)));
    fixture.send(&driver, &mut rings[1], TX, b"to the host");
    fixture.until(|| fixture.plugged.vectors.take_raised().contains(&(TX + 1)));
    assert!(fixture.counter("net_vhost_interrupts") >= 2);
    assert_eq!(fixture.plugged.vectors.bound(), [RX + 1, TX + 1]);
    driver.set_status(0);
    assert!(fixture.plugged.vectors.bound().is_empty());
    assert_eq!(fixture.plugged.worker.fds().len(), 3, "no queue is ours");
}

#[test]
fn an_interrupt_that_is_masked_is_pending_and_not_lost() {
    let fixture = Fixture::new(1);
    let driver = fixture.driver();
    let mut rings = driver.start(64);
    let mask = driver.msix_table + 16 * u64::from(RX + 1) + 12;
    fixture.machine.write(mask, 4, 1);
    fixture.receive(&driver, &mut rings[0], RX);
    let pending = || fixture.machine.read(driver.msix_pending, 8);
    fixture.until(|| pending() == 1 << (RX + 1));
    assert!(fixture.plugged.vectors.take_raised().is_empty());
    fixture.machine.write(mask, 4, 0);
    assert_eq!(fixture.plugged.vectors.take_raised(), [RX + 1]);
    assert_eq!(pending(), 0);
}

#[test]
fn after_a_reset_the_kernel_leaves_memory_alone_until_a_driver_is_ready_again() {
    let fixture = Fixture::new(1);
    let driver = fixture.driver();
    let mut rings = driver.start(64);
    rings[0].add(&[], &[2048]);
    driver.notify(RX);
    driver.set_status(0);
    fixture.host.send(b"to nobody");
    fixture.a_while();
    assert_eq!(rings[0].used(), None);
    for _ in 0..3 {
        let mut rings = driver.start(64);
        fixture.host.send(b"behind what lies there");
        let buffer = rings[0].add(&[], &[2048]);
        driver.notify(RX);
        fixture.found(&mut rings[0], &buffer);
        fixture.send(&driver, &mut rings[1], TX, b"once more");
        driver.set_status(0);
    }
    assert_eq!(fixture.counter("net_host_errors"), 0);
}

#[test]
fn a_driver_that_breaks_its_ring_breaks_its_device_only() {
    let fixture = Fixture::new(1);
    let driver = fixture.driver();
    let mut rings = driver.start(64);
    rings[1].set_available(1000);
    driver.notify(TX);
    fixture.until(|| driver.status() & NEEDS_RESET != 0);
    assert_eq!(fixture.counter("net_guest_errors"), 1);
    driver.notify(TX);
    fixture.a_while();
    assert_eq!(fixture.counter("net_guest_errors"), 1, "it is over");
    let mut rings = driver.start(64);
    fixture.send(&driver, &mut rings[1], TX, b"well again");
}

#[test]
fn buffers_outside_memory_break_the_device_and_nothing_else() {
    let fixture = Fixture::new(1);
    let driver = fixture.driver();
    let mut rings = driver.start(64);
    for address in [test_guest::GuestRam::END, u64::MAX - 100, 1 << 40] {
        rings[1].add_buffers(&[(address, 2000, 0)]);
        driver.notify(TX);
        fixture.until(|| driver.status() & NEEDS_RESET != 0);
        rings = driver.start(64);
    }
    assert_eq!(fixture.counter("net_guest_errors"), 3);
    fixture.send(&driver, &mut rings[1], TX, b"well again");
}

#[test]
fn a_second_pair_has_traffic_once_its_driver_says_so() {
    let fixture = Fixture::new(2);
    let driver = fixture.driver();
    let mut rings = driver.start(64);
    let frame = fixture.receive(&driver, &mut rings[0], RX);
    assert_eq!(frame, host::frame(b"to the guest"));
    assert_eq!(choose_pairs(&fixture, &driver, &mut rings, 2), 0);
    fixture.send(&driver, &mut rings[3], 3, b"through the second");
    // What came from there goes back there.
    let frame = fixture.receive(&driver, &mut rings[2], 2);
    assert_eq!(frame, host::frame(b"to the guest"));
    assert_eq!(choose_pairs(&fixture, &driver, &mut rings, 1), 0);
    fixture.receive(&driver, &mut rings[0], RX);
    assert_eq!(choose_pairs(&fixture, &driver, &mut rings, 3), 1);
    assert_eq!(choose_pairs(&fixture, &driver, &mut rings, 2), 0);
    fixture.send(&driver, &mut rings[3], 3, b"where it left off");
    assert_eq!(fixture.counter("net_host_errors"), 0);
}

#[track_caller]
fn choose_pairs(fixture: &Fixture, driver: &PciDriver<'_>, rings: &mut [Ring], pairs: u8) -> u8 {
    let control = &mut rings[usize::from(CONTROL)];
    let command = control.add(&[&[4, 0], &[pairs, 0]], &[1]);
    driver.notify(CONTROL);
    fixture.until(|| control.used().is_some());
    control.written(&command)[0]
}

#[test]
fn a_ring_may_end_where_memory_does() {
    let fixture = Fixture::new(1);
    let driver = fixture.driver();
    driver.negotiate();
    driver.enable_msix(3);
    let mut tx = Ring::new(&fixture.machine.ram, 64);
    let used = 6 + 8 * 64;
    tx.layout.used = test_guest::GuestRam::END - used;
    tx.layout.used -= tx.layout.used % 4;
    fixture.machine.ram.write(tx.layout.used, &[0; 4]);
    driver.set_up_queue(TX, &tx);
    driver.set_status(15);
    assert_eq!(driver.status(), 15);
    fixture.send(&driver, &mut tx, TX, b"from the edge");
}
