//! The device between drivers, good and bad, and a backend that records.

use std::collections::VecDeque;

use parking_lot::Mutex;
use proptest::prelude::*;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::backend::MAX_PAYLOAD;
use super::header::{TYPE_STREAM, op};
use super::*;
use crate::test_guest::{Direct, PciDriver, TestMachine};

const CID: u64 = 3;

/// Remembers what the guest sent, and has what the test put there for it.
#[derive(Clone)]
struct Recorder(Arc<Mutex<Recorded>>);

struct Recorded {
    fd: OwnedFd,
    sent: Vec<(Header, Vec<u8>)>,
    /// How many more packets are taken from the guest.
    room: usize,
    pending: VecDeque<(Header, Vec<u8>)>,
    /// Packets that come into being at the next host event.
    outside: VecDeque<(Header, Vec<u8>)>,
    resets: usize,
}

impl Recorder {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Recorded {
            fd: eventfd(0, EventfdFlags::NONBLOCK).unwrap(),
            sent: Vec::new(),
            room: usize::MAX,
            pending: VecDeque::new(),
            outside: VecDeque::new(),
            resets: 0,
        })))
    }

    fn sent(&self) -> Vec<(Header, Vec<u8>)> {
        self.0.lock().sent.clone()
    }

    fn offer(&self, payload: &[u8]) {
        self.0
            .lock()
            .pending
            .push_back((to_guest(payload), payload.to_vec()));
    }
}

impl VsockBackend for Recorder {
    fn host_fd(&self) -> io::Result<OwnedFd> {
        self.0.lock().fd.try_clone()
    }

    fn host_event(&mut self) {
        let mut this = self.0.lock();
        let _ = rustix::io::read(&this.fd, &mut [0; 8]);
        let arrived = std::mem::take(&mut this.outside);
        this.pending.extend(arrived);
    }

    fn send(&mut self, packet: &Header, payload: &[u8]) -> Sent {
        let mut this = self.0.lock();
        if this.room == 0 {
            return Sent::Busy;
        }
        this.room -= 1;
        this.sent.push((*packet, payload.to_vec()));
        Sent::Taken
    }

    fn has_pending(&self) -> bool {
        !self.0.lock().pending.is_empty()
    }

    fn receive(&mut self, payload: &mut [u8]) -> Option<Header> {
        let mut this = self.0.lock();
        let (mut header, mut data) = this.pending.pop_front()?;
        if data.len() > payload.len() {
            let rest = data.split_off(payload.len());
            this.pending.push_front((to_guest(&rest), rest));
            header = to_guest(&data);
        }
        payload[..data.len()].copy_from_slice(&data);
        // What was received makes room for what the guest sends.
        this.room = this.room.saturating_add(1);
        Some(header)
    }

    fn reset(&mut self) {
        let mut this = self.0.lock();
        this.resets += 1;
        this.pending.clear();
    }
}

fn packet(len: usize) -> Header {
    Header {
        src_cid: CID,
        dst_cid: HOST_CID,
        src_port: 1024,
        dst_port: 5000,
        len: u32::try_from(len).unwrap(),
        socket_type: TYPE_STREAM,
        op: op::RW,
        ..Header::default()
    }
}

fn to_guest(payload: &[u8]) -> Header {
    Header {
        src_cid: HOST_CID,
        dst_cid: CID,
        src_port: 5000,
        dst_port: 1024,
        ..packet(payload.len())
    }
}

fn vsock() -> (Direct<Vsock>, Recorder) {
    let recorder = Recorder::new();
    let device = Vsock::new(CID, Box::new(recorder.clone())).unwrap();
    (Direct::new(device), recorder)
}

#[test]
fn what_the_guest_sends_reaches_the_backend() {
    let (mut vsock, recorder) = vsock();
    let header = packet(5);
    let added = vsock.rings[TX].add(&[&header.to_bytes(), b"hello"], &[]);
    vsock.run(TX);
    assert_eq!(recorder.sent(), [(header, b"hello".to_vec())]);
    assert_eq!(vsock.rings[TX].used(), Some((added.head, 0)));
    assert_eq!(vsock.interrupt.said().queues, [1]);
    assert_eq!(vsock.counter("vsock_tx_bytes"), 5);
}

#[test]
fn a_packet_may_be_cut_anywhere() {
    // Linux puts header and data into one buffer, into two, or the data into many.
    let (mut vsock, recorder) = vsock();
    let mut bytes = packet(9).to_bytes().to_vec();
    bytes.extend(b"many cuts");
    for cuts in [
        vec![53],
        vec![44, 53],
        vec![10, 44, 50, 53],
        vec![47, 49, 53],
    ] {
        let mut start = 0;
        let parts: Vec<&[u8]> = cuts
            .iter()
            .map(|end| &bytes[std::mem::replace(&mut start, *end)..*end])
            .collect();
        vsock.rings[TX].add(&parts, &[]);
    }
    vsock.run(TX);
    assert_eq!(recorder.sent(), vec![(packet(9), b"many cuts".to_vec()); 4]);
}

#[test]
fn what_waits_for_the_guest_reaches_it() {
    let (mut vsock, recorder) = vsock();
    recorder.offer(b"hello");
    vsock.run(RX);
    assert_eq!(vsock.rings[RX].used(), None, "there is no buffer yet");
    let added = vsock.rings[RX].add(&[], &[44, 100]);
    let unused = vsock.rings[RX].add(&[], &[144]);
    vsock.run(RX);
    assert_eq!(vsock.rings[RX].used(), Some((added.head, 49)));
    let written = vsock.rings[RX].written(&added);
    assert_eq!(written[..44], to_guest(b"hello").to_bytes());
    assert_eq!(&written[44..49], b"hello");
    assert_eq!(vsock.rings[RX].used(), None, "one packet, one buffer");

    recorder.offer(&[]);
    vsock.run(RX);
    assert_eq!(vsock.rings[RX].used(), Some((unused.head, 44)));
}

#[test]
fn a_packet_is_as_long_as_there_is_room() {
    let (mut vsock, recorder) = vsock();
    recorder.offer(b"abcdef");
    let one = vsock.rings[RX].add(&[], &[48]);
    let two = vsock.rings[RX].add(&[], &[48]);
    vsock.run(RX);
    assert_eq!(vsock.rings[RX].used(), Some((one.head, 48)));
    assert_eq!(vsock.rings[RX].used(), Some((two.head, 46)));
    assert_eq!(&vsock.rings[RX].written(&one)[44..], b"abcd");
    assert_eq!(&vsock.rings[RX].written(&two)[44..46], b"ef");
}

#[test]
fn a_busy_backend_is_offered_the_packet_again() {
    let (mut vsock, recorder) = vsock();
    recorder.0.lock().room = 1;
    for payload in [b"one", b"two"] {
        vsock.rings[TX].add(&[&packet(3).to_bytes(), payload], &[]);
    }
    vsock.run(TX);
    assert_eq!(recorder.sent().len(), 1);
    assert!(vsock.rings[TX].used().is_some());
    assert_eq!(vsock.rings[TX].used(), None, "the second is still ours");

    recorder.offer(b"x");
    vsock.rings[RX].add(&[], &[100]);
    vsock.run(RX);
    assert_eq!(recorder.sent().len(), 2);
    assert!(vsock.rings[TX].used().is_some());
    assert_eq!(vsock.counter("vsock_tx_packets"), 2);
}

#[test]
fn events_of_the_host_are_taken_up_even_without_a_driver() {
    let recorder = Recorder::new();
    let mut device = Vsock::new(CID, Box::new(recorder.clone())).unwrap();
    let fds = device.host_fds().unwrap();
    let header = to_guest(b"early");
    recorder
        .0
        .lock()
        .outside
        .push_back((header, b"early".to_vec()));
    rustix::io::write(&recorder.0.lock().fd, &1u64.to_ne_bytes()).unwrap();
    assert_eq!(device.process_host_event(0).unwrap(), Progress::Idle);
    let mut wait = [PollFd::new(&fds[0], PollFlags::IN)];
    let no_time = rustix::time::Timespec::default();
    assert_eq!(
        poll(&mut wait, Some(&no_time)),
        Ok(0),
        "the descriptor is quiet"
    );

    let mut vsock = Direct::new(device);
    let added = vsock.rings[RX].add(&[], &[100]);
    vsock.run(RX);
    assert_eq!(vsock.rings[RX].used(), Some((added.head, 49)));
}

/// `len` claimed, `payload` sent.
fn check_dropped(header: Header, payload: &[u8]) {
    let (mut vsock, recorder) = vsock();
    let added = vsock.rings[TX].add(&[&header.to_bytes(), payload], &[]);
    vsock.run(TX);
    assert!(recorder.sent().is_empty());
    assert_eq!(vsock.rings[TX].used(), Some((added.head, 0)));
    assert_eq!(vsock.counter("vsock_tx_dropped"), 1);
    assert!(!vsock.needs_reset());
}

#[test]
fn a_packet_that_lies_about_its_length_or_source_is_dropped() {
    check_dropped(packet(6), b"hello");
    check_dropped(packet(MAX_PAYLOAD + 1), &[0; MAX_PAYLOAD + 1]);
    check_dropped(
        Header {
            len: u32::MAX,
            ..packet(0)
        },
        b"x",
    );
    check_dropped(
        Header {
            src_cid: HOST_CID,
            ..packet(1)
        },
        b"x",
    );
}

#[test]
fn a_packet_without_a_header_needs_a_reset_and_ends_all_connections() {
    let (mut vsock, recorder) = vsock();
    vsock.rings[TX].add(&[&[0; 43]], &[]);
    vsock.run(TX);
    assert!(vsock.needs_reset());
    assert_eq!(recorder.0.lock().resets, 1);
    assert_eq!(vsock.counter("vsock_guest_errors"), 1);
    assert!(vsock.device.active.is_none());
}

#[test]
fn a_buffer_without_room_for_a_header_needs_a_reset() {
    let (mut vsock, recorder) = vsock();
    recorder.offer(b"hello");
    vsock.rings[RX].add(&[], &[43]);
    vsock.run(RX);
    assert!(vsock.needs_reset());
}

#[test]
fn a_driver_that_starts_anew_has_no_connections() {
    let (mut vsock, recorder) = vsock();
    recorder.offer(b"old");
    vsock.device.reset();
    vsock.activate();
    vsock.rings[RX].add(&[], &[100]);
    vsock.run(RX);
    assert_eq!(vsock.rings[RX].used(), None);
    assert_eq!(recorder.0.lock().resets, 1);
}

#[test]
fn after_a_transport_reset_the_guest_hears_of_that_first() {
    let (mut vsock, recorder) = vsock();
    for _ in 0..2 {
        vsock.rings[EVENT].add(&[], &[4]);
    }
    vsock.run(EVENT);
    vsock.device.reset_handle().reset_transport().unwrap();
    assert_eq!(vsock.device.process_host_event(1).unwrap(), Progress::Idle);
    assert_eq!(vsock.rings[EVENT].used().map(|u| u.1), Some(4));

    // Nothing of a new connection may arrive before the driver has read the event.
    recorder.offer(b"new");
    vsock.rings[RX].add(&[], &[100]);
    vsock.run(RX);
    assert_eq!(vsock.rings[RX].used(), None);
    vsock.rings[EVENT].add(&[], &[4]);
    vsock.run(EVENT);
    assert_eq!(vsock.rings[RX].used().map(|u| u.1), Some(47));
}

#[test]
fn a_transport_reset_waits_for_a_buffer() {
    let (mut vsock, _) = vsock();
    vsock.device.reset_handle().reset_transport().unwrap();
    assert_eq!(vsock.device.process_host_event(1).unwrap(), Progress::Idle);
    let added = vsock.rings[EVENT].add(&[], &[4]);
    vsock.run(EVENT);
    assert_eq!(vsock.rings[EVENT].used(), Some((added.head, 4)));
    assert_eq!(vsock.rings[EVENT].written(&added), [0; 4]);
}

#[test]
fn the_guest_learns_its_address_and_exchanges_packets_over_pci() {
    let recorder = Recorder::new();
    let machine = TestMachine::new();
    let device = Vsock::new(CID, Box::new(recorder.clone())).unwrap();
    let plugged = machine.plug(device);
    let driver = PciDriver::probe(&machine, plugged.slot);
    let mut rings = driver.start(16);
    assert_eq!(machine.read(driver.device, 8), CID);

    let received = rings[RX].add(&[], &[100]);
    rings[TX].add(&[&packet(2).to_bytes(), b"hi"], &[]);
    driver.notify(1);
    recorder
        .0
        .lock()
        .outside
        .push_back((to_guest(b"ho"), b"ho".to_vec()));
    rustix::io::write(&recorder.0.lock().fd, &1u64.to_ne_bytes()).unwrap();
    plugged.run();
    assert_eq!(recorder.sent(), [(packet(2), b"hi".to_vec())]);
    assert_eq!(rings[RX].used(), Some((received.head, 46)));
    assert_eq!(plugged.vectors.take_raised(), [2, 1]);
}

proptest! {
    #[test]
    fn bytes_keep_their_order_and_none_is_lost(
        steps in proptest::collection::vec((0usize..4, 1u32..200), 1..100),
    ) {
        let (mut vsock, recorder) = vsock();
        let (mut offered, mut received): (Vec<u8>, Vec<u8>) = Default::default();
        let mut buffers = VecDeque::new();
        let (mut said, mut next) = (Vec::new(), 0u8);
        for (step, len) in steps {
            let payload: Vec<u8> = (0..len)
                .map(|_| {
                    next = next.wrapping_add(1);
                    next
                })
                .collect();
            match step {
                0 => {
                    recorder.offer(&payload);
                    offered.extend(&payload);
                    vsock.run(RX);
                }
                1 if buffers.len() < 100 => {
                    buffers.push_back(vsock.rings[RX].add(&[], &[44 + len]));
                    vsock.run(RX);
                }
                2 => {
                    let header = packet(payload.len());
                    vsock.rings[TX].add(&[&header.to_bytes(), &payload], &[]);
                    said.extend(&payload);
                    recorder.0.lock().room = 2;
                    vsock.run(TX);
                    prop_assert!(vsock.rings[TX].used().is_some());
                }
                _ => {}
            }
            while let Some((head, len)) = vsock.rings[RX].used() {
                let buffer = buffers.pop_front().unwrap();
                prop_assert_eq!(buffer.head, head);
                let written = vsock.rings[RX].written(&buffer);
                received.extend(&written[44..usize::try_from(len).unwrap()]);
            }
        }
        let heard: Vec<u8> = recorder.sent().into_iter().flat_map(|(_, payload)| payload).collect();
        prop_assert_eq!(heard, said);
        prop_assert!(offered.starts_with(&received));
        let waiting: usize = recorder.0.lock().pending.iter().map(|(_, p)| p.len()).sum();
        prop_assert_eq!(offered.len() - received.len(), waiting);
    }

    #[test]
    fn rubbish_never_reaches_the_backend_longer_than_it_says(
        packets in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..120), 0u32..100, 0usize..120), 1..20,
        ),
        honest_source in any::<bool>(),
    ) {
        let (mut vsock, recorder) = vsock();
        for (mut bytes, len, cut) in packets {
            if honest_source && bytes.len() >= 44 {
                bytes[..8].copy_from_slice(&CID.to_le_bytes());
                bytes[24..28].copy_from_slice(&len.to_le_bytes());
            }
            let (one, two) = bytes.split_at(cut.min(bytes.len()));
            let parts: Vec<&[u8]> = [one, two].into_iter().filter(|p| !p.is_empty()).collect();
            if !parts.is_empty() {
                vsock.rings[TX].add(&parts, &[]);
            }
            vsock.run(TX);
            if vsock.needs_reset() {
                prop_assert!(bytes.len() < 44);
                vsock.device.reset();
                vsock.activate();
            }
        }
        for (header, payload) in recorder.sent() {
            prop_assert_eq!(header.src_cid, CID);
            prop_assert_eq!(header.len as usize, payload.len());
            prop_assert!(payload.len() <= 120 - 44);
        }
    }
}
