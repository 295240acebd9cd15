//! The device between a driver and a socket that stands for the wire.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use parking_lot::Mutex;
use proptest::prelude::*;
use rustix::event::{PollFd, PollFlags, poll};

use super::config::*;
use super::*;
use crate::test_guest::{Added, Direct, PciDriver, Ring, TestMachine, WRITE};

const RX: usize = 0;
const TX: usize = 1;

/// With two pairs.
const CONTROL: usize = 4;

const QUEUE_SIZE: u16 = 256;

const INTERFACE: Interface = Interface {
    mac: [2, 0, 0, 0, 0, 1],
    mtu: 1400,
};

/// What Linux makes available when frames may be merged.
const BUFFER: u32 = 1536;

/// Enough of them for the longest frame.
const BUFFERS: usize = 43;

/// One end of a wire, which keeps frames apart as an interface does.
struct Wire {
    socket: UnixDatagram,
    offloads: Arc<Mutex<Offloads>>,
    part: Arc<Mutex<Part>>,
}

impl NetBackend for Wire {
    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn set_offloads(&mut self, offloads: Offloads) -> io::Result<()> {
        *self.offloads.lock() = offloads;
        Ok(())
    }

    fn set_part(&mut self, part: Part) -> io::Result<()> {
        let before = std::mem::replace(&mut *self.part.lock(), part);
        assert_ne!(before, part, "the kernel refuses what is so already");
        Ok(())
    }
}

struct Fixture {
    direct: Direct<Net>,
    /// The other end of the wire.
    wire: UnixDatagram,
    offloads: Arc<Mutex<Offloads>>,
}

/// The other end of a wire, and what its device's end was told.
struct Far {
    wire: UnixDatagram,
    offloads: Arc<Mutex<Offloads>>,
    part: Arc<Mutex<Part>>,
}

fn cable() -> (Wire, Far) {
    let (socket, wire) = UnixDatagram::pair().unwrap();
    socket.set_nonblocking(true).unwrap();
    wire.set_nonblocking(true).unwrap();
    let near = Wire {
        socket,
        offloads: Arc::default(),
        part: Arc::new(Mutex::new(Part::Taken)),
    };
    let far = Far {
        wire,
        offloads: Arc::clone(&near.offloads),
        part: Arc::clone(&near.part),
    };
    (near, far)
}

fn device() -> (Net, UnixDatagram, Arc<Mutex<Offloads>>) {
    let (near, Far { wire, offloads, .. }) = cable();
    let net = Net::new(INTERFACE, vec![Box::new(near)]).unwrap();
    (net, wire, offloads)
}

/// A device with two queue pairs, whose driver is ready.
fn two_pairs() -> (Direct<Net>, [Far; 2]) {
    let ((first, far0), (second, far1)) = (cable(), cable());
    let net = Net::new(INTERFACE, vec![Box::new(first), Box::new(second)]).unwrap();
    (Direct::new(net), [far0, far1])
}

/// Sends a command, and gives the answer.
fn command(direct: &mut Direct<Net>, command: &[u8]) -> u8 {
    let added = direct.rings[CONTROL].add(&[command], &[1]);
    direct.run(CONTROL);
    direct.rings[CONTROL].written(&added)[0]
}

impl Fixture {
    fn new() -> Self {
        let (net, wire, offloads) = device();
        Self {
            direct: Direct::new(net),
            wire,
            offloads,
        }
    }

    /// For a driver that knows only `features`.
    fn with(features: u64) -> Self {
        let mut fixture = Self::new();
        fixture.direct.device.reset();
        fixture.direct.activate_with(features);
        fixture
    }

    fn add_buffers(&mut self, count: usize, len: u32) -> Vec<Added> {
        let ring = &mut self.direct.rings[RX];
        (0..count).map(|_| ring.add(&[], &[len])).collect()
    }

    /// What the I/O thread does when it finds a frame.
    fn take_frames(&mut self) {
        let progress = self.direct.device.process_host_event(0).unwrap();
        assert_eq!(progress, Progress::Idle);
    }

    fn is_watched(&self) -> bool {
        let fd = &self.direct.device.host_fds().unwrap()[0];
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        let now = rustix::event::Timespec::default();
        poll(&mut fds, Some(&now)).unwrap() > 0
    }

    /// Reads frames as Linux does: as many buffers each as the first one's header says.
    fn received(&mut self, buffers: &[Added]) -> Vec<Vec<u8>> {
        let ring = &mut self.direct.rings[RX];
        let mut frames = Vec::new();
        while let Some(first) = ring.used() {
            let mut parts = vec![first];
            let count = count_in(&content(ring, buffers, first));
            for _ in 1..count {
                parts.push(ring.used().expect("the header counts what is there"));
            }
            let frame = parts
                .into_iter()
                .flat_map(|part| content(ring, buffers, part));
            frames.push(frame.skip(12).collect());
        }
        frames
    }
}

fn content(ring: &Ring, buffers: &[Added], (head, len): (u16, u32)) -> Vec<u8> {
    let added = buffers.iter().rfind(|added| added.head == head);
    let mut content = ring.written(added.expect("it was made available"));
    content.truncate(usize::try_from(len).unwrap());
    content
}

fn count_in(header: &[u8]) -> u16 {
    u16::from_le_bytes([header[10], header[11]])
}

/// A frame as it is on the wire of these tests, behind a header that says nothing.
fn on_wire(frame: &[u8]) -> Vec<u8> {
    [&[0; 12], frame].concat()
}

fn frame(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

#[test]
fn the_driver_reads_what_interface_it_is() {
    let (net, _wire, _) = device();
    let mut config = [0xff; 16];
    net.read_config(0, &mut config);
    assert_eq!(config, [2, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0x78, 5, 0, 0, 0, 0]);
}

#[test]
fn a_frame_of_the_guests_goes_out_with_its_header() {
    let mut fixture = Fixture::new();
    let header = [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0];
    let sent = frame(1500);
    fixture.direct.rings[TX].add(&[&header, &sent[..700], &sent[700..]], &[]);
    fixture.direct.run(TX);
    let mut got = vec![0; 4096];
    let len = fixture.wire.recv(&mut got).unwrap();
    assert_eq!(got[..len], [&header[..], &sent].concat());
    assert_eq!(fixture.direct.rings[TX].used(), Some((0, 0)));
    assert_eq!(fixture.direct.counter("net_tx_bytes"), 1500);
    assert_eq!(fixture.direct.interrupt.said().queues, [1]);
}

#[test]
fn a_driver_that_sent_nothing_is_told_of_nothing() {
    let mut fixture = Fixture::with(0);
    fixture.direct.run(TX);
    assert!(fixture.direct.interrupt.said().queues.is_empty());
    fixture.direct.rings[TX].add(&[&on_wire(&frame(60))], &[]);
    fixture.direct.run(TX);
    assert_eq!(fixture.direct.interrupt.said().queues, [1]);
}

#[test]
fn frames_of_impossible_length_are_dropped() {
    let mut fixture = Fixture::new();
    let long = vec![0; 12 + 65551];
    for frame in [&[][..], &[0; 12], &long] {
        fixture.direct.rings[TX].add(&[frame], &[]);
    }
    fixture.direct.rings[TX].add(&[], &[100]);
    fixture.direct.run(TX);
    assert_eq!(fixture.direct.counter("net_tx_dropped"), 4);
    assert_eq!(fixture.direct.counter("net_tx_frames"), 0);
    assert!(!fixture.direct.needs_reset());
    fixture.wire.recv(&mut [0]).unwrap_err();
}

#[test]
fn frames_lie_in_as_many_buffers_as_they_need() {
    let mut fixture = Fixture::new();
    let buffers = fixture.add_buffers(2 * BUFFERS, BUFFER);
    let frames = [
        frame(60),
        frame(4000),
        frame(1524),
        frame(1525),
        frame(65550),
    ];
    for frame in &frames {
        fixture.wire.send(&on_wire(frame)).unwrap();
        fixture.take_frames();
    }
    assert_eq!(fixture.received(&buffers), frames);
    assert_eq!(fixture.direct.counter("net_rx_frames"), 5);
    let bytes: usize = frames.iter().map(Vec::len).sum();
    assert_eq!(fixture.direct.counter("net_rx_bytes"), bytes as u64);
}

#[test]
fn a_driver_that_merges_nothing_finds_each_frame_in_one_buffer() {
    let mut fixture = Fixture::with(FEATURES & !(MRG_RXBUF | GUEST_TSO4 | GUEST_TSO6));
    let buffers = fixture.add_buffers(2, BUFFER);
    for len in [1414, 60] {
        fixture.wire.send(&on_wire(&frame(len))).unwrap();
    }
    fixture.take_frames();
    assert_eq!(fixture.received(&buffers), [frame(1414), frame(60)]);
}

#[test]
fn frames_wait_where_they_are_until_there_is_room() {
    let mut fixture = Fixture::new();
    fixture.wire.send(&on_wire(b"frame")).unwrap();
    assert!(fixture.is_watched());
    fixture.take_frames();
    assert!(!fixture.is_watched(), "or the thread would spin");
    // One more, so that the next frame finds room at once.
    let buffers = fixture.add_buffers(BUFFERS + 1, BUFFER);
    fixture.direct.run(RX);
    assert_eq!(fixture.received(&buffers), [b"frame"]);
    assert_eq!(fixture.direct.counter("net_rx_waits"), 1);
    fixture.wire.send(&on_wire(b"more")).unwrap();
    assert!(fixture.is_watched());
}

#[test]
fn an_idle_device_is_not_watched() {
    let mut fixture = Fixture::new();
    fixture.wire.send(&on_wire(b"frame")).unwrap();
    fixture.direct.device.reset();
    assert!(!fixture.is_watched());
    fixture.take_frames();
    fixture.direct.activate();
    assert!(fixture.is_watched());
}

#[test]
fn a_wire_that_is_cut_costs_only_the_wire() {
    let mut fixture = Fixture::new();
    fixture.add_buffers(BUFFERS, BUFFER);
    fixture.wire.send(&[1, 2, 3]).unwrap();
    fixture.take_frames();
    assert_eq!(fixture.direct.counter("net_host_errors"), 1);
    assert!(!fixture.is_watched());
    assert!(!fixture.direct.needs_reset());
}

#[test]
fn a_buffer_without_room_for_a_header_breaks_the_device() {
    let mut fixture = Fixture::new();
    fixture.direct.rings[RX].add(&[], &[11]);
    fixture.direct.run(RX);
    assert!(fixture.direct.needs_reset());
    assert_eq!(fixture.direct.counter("net_guest_errors"), 1);
    fixture.wire.send(&on_wire(b"frame")).unwrap();
    assert!(!fixture.is_watched());
}

#[test]
fn the_host_learns_what_the_driver_takes() {
    let fixture = Fixture::with(GUEST_CSUM | GUEST_TSO4);
    assert_eq!(*fixture.offloads.lock(), Offloads(3));
    let fixture = Fixture::with(0);
    assert_eq!(*fixture.offloads.lock(), Offloads(0));
}

#[test]
fn a_driver_on_the_bus_brings_it_up() {
    let machine = TestMachine::new();
    let (net, wire, offloads) = device();
    let plugged = machine.plug(net);
    let driver = PciDriver::probe(&machine, plugged.slot);
    let mut rings = driver.start(64);
    assert_eq!(*offloads.lock(), Offloads(15));
    rings[TX].add(&[&on_wire(b"hello")], &[]);
    driver.notify(1);
    plugged.run();
    let mut got = [0; 64];
    let len = wire.recv(&mut got).unwrap();
    assert_eq!(&got[12..len], b"hello");
    assert_eq!(machine.read(driver.device, 4), 0x0000_0002);
}

/// Often one that is known.
fn any_command() -> impl Strategy<Value = Vec<u8>> {
    let known = (0..4u8).prop_map(|pairs| vec![4, 0, pairs, 0]);
    prop_oneof![known, proptest::collection::vec(any::<u8>(), 0..6)]
}

fn anything() -> impl Strategy<Value = Vec<(u64, u32, u16)>> {
    let buffer = (
        0..0x50_0000u64,
        0..70_000u32,
        prop_oneof![Just(0), Just(WRITE)],
    );
    proptest::collection::vec(buffer, 1..6)
}

#[test]
fn several_queue_pairs_are_offered_with_the_queue_to_choose_them() {
    let (direct, _far) = two_pairs();
    let net = &direct.device;
    assert_eq!(net.features(), FEATURES | CTRL_VQ | MQ);
    assert_eq!(net.queue_sizes(), [256, 256, 256, 256, 64]);
    let mut pairs = [0; 2];
    net.read_config(8, &mut pairs);
    assert_eq!(pairs, [2, 0]);
}

#[test]
fn a_pair_has_a_part_in_the_traffic_only_while_its_driver_uses_it() {
    let (mut direct, [_, far]) = two_pairs();
    assert_eq!(*far.part.lock(), Part::Left);
    far.wire.send(&on_wire(b"frame")).unwrap();
    let buffers: Vec<_> = (0..BUFFERS + 2)
        .map(|_| direct.rings[2].add(&[], &[BUFFER]))
        .collect();
    direct.run(2);
    assert_eq!(direct.counter("net_rx_frames"), 1, "what is there is taken");
    assert_eq!(command(&mut direct, &[4, 0, 2, 0]), 0);
    assert_eq!(*far.part.lock(), Part::Taken);
    far.wire.send(&on_wire(b"more")).unwrap();
    let _ = direct.device.process_host_event(1).unwrap();
    assert_eq!(direct.counter("net_rx_frames"), 2);
    assert_eq!(
        content(&direct.rings[2], &buffers, (0, 17))[12..],
        *b"frame"
    );
    direct.rings[3].add(&[&on_wire(b"back")], &[]);
    direct.run(3);
    let mut got = [0; 64];
    assert_eq!(far.wire.recv(&mut got).unwrap(), 16);
    assert_eq!(command(&mut direct, &[4, 0, 1, 0]), 0);
    assert_eq!(*far.part.lock(), Part::Left);
    assert_eq!(command(&mut direct, &[4, 0, 2, 0]), 0);
    direct.device.reset();
    assert_eq!(*far.part.lock(), Part::Left, "a new driver knows of none");
}

#[test]
fn commands_that_make_no_sense_are_refused() {
    let (mut direct, [_, far]) = two_pairs();
    for bad in [
        &[4, 0, 0, 0][..],
        &[4, 0, 3, 0],
        &[4, 0, 2, 1],
        &[4, 1, 2, 0],
        &[0, 0, 1, 0],
        &[4, 0],
        &[],
    ] {
        assert_eq!(command(&mut direct, bad), 1, "{bad:?}");
    }
    assert_eq!(*far.part.lock(), Part::Left);
    assert!(!direct.needs_reset());
    direct.rings[CONTROL].add(&[&[4, 0, 2, 0]], &[]);
    direct.run(CONTROL);
    assert!(direct.needs_reset(), "there is no room for an answer");
}

#[test]
fn a_driver_that_knows_of_one_pair_has_no_control_queue() {
    let (mut direct, [_, far]) = two_pairs();
    direct.device.reset();
    direct.activate_with(FEATURES | CTRL_VQ);
    direct.rings[CONTROL].add(&[&[4, 0, 2, 0]], &[1]);
    direct.run(CONTROL);
    assert_eq!(direct.rings[CONTROL].used(), None);
    assert_eq!(*far.part.lock(), Part::Left);
}

proptest! {
    #[test]
    fn no_frame_is_lost_or_changed(
        sizes in proptest::collection::vec(1..65550usize, 1..8),
        buffer in 12..9000u32,
    ) {
        let mut fixture = Fixture::new();
        let mut got = Vec::new();
        let frames: Vec<_> = sizes.into_iter().map(frame).collect();
        for frame in &frames {
            // As many as are missing from a full ring, which is what a driver gives.
            let enough = usize::try_from(65562u32.div_ceil(buffer)).unwrap();
            let count = enough.min(usize::from(QUEUE_SIZE));
            fixture.direct.device.reset();
            fixture.direct.activate();
            let buffers = fixture.add_buffers(count, buffer);
            fixture.wire.send(&on_wire(frame)).unwrap();
            fixture.take_frames();
            got.extend(fixture.received(&buffers));
        }
        let room = usize::try_from(buffer).unwrap() * usize::from(QUEUE_SIZE) - 12;
        for (frame, got) in frames.iter().zip(&got) {
            // A driver whose whole ring is too small gets what fits.
            prop_assert_eq!(&frame[..frame.len().min(room)], &got[..]);
        }
        prop_assert_eq!(frames.len(), got.len());
    }

    #[test]
    fn whatever_a_driver_commands_the_second_pair_follows_the_last_that_was_obeyed(
        commands in proptest::collection::vec(any_command(), 1..12),
    ) {
        let (mut direct, [_, far]) = two_pairs();
        let mut expected = Part::Left;
        for bytes in commands {
            let answer = command(&mut direct, &bytes);
            prop_assert!(answer == 0 || answer == 1);
            if answer == 0 {
                prop_assert_eq!(&bytes[..2], [4, 0]);
                expected = if bytes[2] == 2 { Part::Taken } else { Part::Left };
            }
            prop_assert_eq!(*far.part.lock(), expected);
        }
    }

    #[test]
    fn whatever_a_driver_makes_available_the_host_stays_well(
        rx in proptest::collection::vec(anything(), 0..8),
        tx in proptest::collection::vec(anything(), 0..8),
        features in any::<u64>(),
    ) {
        let mut fixture = Fixture::with(features & FEATURES);
        for (queue, chains) in [(RX, rx), (TX, tx)] {
            for chain in chains {
                fixture.direct.rings[queue].add_buffers(&chain);
            }
            fixture.wire.send(&on_wire(&frame(3000))).unwrap();
            fixture.direct.run(queue);
            let _ = fixture.direct.device.process_host_event(0).unwrap();
        }
    }
}
