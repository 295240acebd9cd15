//! The device between a driver and a recorder of what it says over vhost-user.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use parking_lot::Mutex;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::*;
use crate::test_guest::{GuestRam, PciDriver, Plugged, Ring, TestMachine};

/// Numbers of requests, as the protocol has them.
const GET_FEATURES: u32 = 1;
const SET_FEATURES: u32 = 2;
const SET_MEM_TABLE: u32 = 5;
const SET_VRING_NUM: u32 = 8;
const SET_VRING_ADDR: u32 = 9;
const GET_VRING_BASE: u32 = 11;
const SET_VRING_KICK: u32 = 12;
const SET_VRING_CALL: u32 = 13;
const GET_PROTOCOL_FEATURES: u32 = 15;

/// All that a virtio-fs back end offers, and that it has a protocol of its own.
const FEATURES: u64 = 1 << 32 | 1 << 30 | 1 << 29 | 1 << 28;
/// Several queues, and answers to everything.
const PROTOCOL_FEATURES: u64 = 1 | 1 << 3;

const NEED_REPLY: u32 = 8;
const REPLY: u32 = 1 | 4;

#[derive(Debug)]
struct Message {
    request: u32,
    payload: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

/// Says yes to everything and remembers it.
struct Recorder {
    socket: UnixStream,
    heard: Arc<Mutex<Vec<Message>>>,
    /// Requests that it says to have taken from each queue.
    taken: Arc<AtomicU16>,
}

impl Recorder {
    /// The recorder, and what a device is connected to.
    fn start(features: u64) -> (Self, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let recorder = Self {
            socket: ours.try_clone().unwrap(),
            heard: Arc::default(),
            taken: Arc::default(),
        };
        let (heard, taken) = (Arc::clone(&recorder.heard), Arc::clone(&recorder.taken));
        std::thread::spawn(move || while answer(&ours, features, &heard, &taken).is_some() {});
        (recorder, theirs)
    }

    fn heard(&self, request: u32) -> usize {
        let heard = self.heard.lock();
        heard.iter().filter(|m| m.request == request).count()
    }

    fn payload(&self, request: u32, number: usize) -> Vec<u8> {
        let heard = self.heard.lock();
        let mut same = heard.iter().filter(|m| m.request == request);
        same.nth(number).unwrap().payload.clone()
    }

    /// The descriptor that came with the message for `queue`.
    fn bell(&self, request: u32, queue: u8) -> File {
        let mut heard = self.heard.lock();
        let mut same = heard.iter_mut().filter(|m| m.request == request);
        let message = same.find(|m| m.payload[0] == queue).unwrap();
        message.fds.pop_front().unwrap().into()
    }

    fn die(&self) {
        self.socket.shutdown(std::net::Shutdown::Both).unwrap();
    }
}

/// Hears one message and answers; `None` once nobody speaks any more.
fn answer(
    mut socket: &UnixStream,
    features: u64,
    heard: &Mutex<Vec<Message>>,
    taken: &AtomicU16,
) -> Option<()> {
    let (header, fds) = receive_header(socket)?;
    let [request, flags, size] = header;
    let mut payload = vec![0; usize::try_from(size).unwrap()];
    socket.read_exact(&mut payload).ok()?;
    let reply = match request {
        GET_FEATURES => Some(features.to_le_bytes().to_vec()),
        GET_PROTOCOL_FEATURES => Some(PROTOCOL_FEATURES.to_le_bytes().to_vec()),
        GET_VRING_BASE => {
            let taken = u32::from(taken.load(Ordering::SeqCst));
            Some([&payload[..4], &taken.to_le_bytes()].concat())
        }
        _ if flags & NEED_REPLY != 0 => Some(vec![0; 8]),
        _ => None,
    };
    heard.lock().push(Message {
        request,
        payload,
        fds,
    });
    if let Some(reply) = reply {
        let len = u32::try_from(reply.len()).unwrap();
        let header = [request, REPLY, len].map(u32::to_le_bytes).concat();
        socket.write_all(&[header, reply].concat()).ok()?;
    }
    Some(())
}

fn receive_header(socket: &UnixStream) -> Option<([u32; 3], VecDeque<OwnedFd>)> {
    let mut bytes = [0; 12];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
    let received = recvmsg(socket, &mut parts, &mut control, flags).ok()?;
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = fds.flatten().collect();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    (received.bytes == 12).then(|| ([word(0), word(4), word(8)], fds))
}

fn plug(machine: &TestMachine) -> (Recorder, Plugged) {
    let (recorder, socket) = Recorder::start(FEATURES);
    let fs = Fs::connect("files".parse().unwrap(), socket).unwrap();
    (recorder, machine.plug(fs))
}

#[test]
fn queues_and_memory_go_to_the_process_that_serves_them() {
    let machine = TestMachine::new();
    let (recorder, plugged) = plug(&machine);
    let driver = PciDriver::probe(&machine, plugged.slot);
    let rings = driver.start(8);
    let features = recorder.payload(SET_FEATURES, 0);
    let features = u64::from_le_bytes(features.try_into().unwrap());
    assert_eq!(features, FEATURES & !(1 << 29), "as the driver chose");
    // Two regions of four numbers, after their count.
    let table = recorder.payload(SET_MEM_TABLE, 0);
    assert_eq!((table[0], table.len()), (2, 8 + 2 * 32));
    assert_eq!(recorder.heard(SET_VRING_NUM), rings.len());
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let base = number(&table[24..32]);
    let first = recorder.payload(SET_VRING_ADDR, 0);
    assert_eq!(number(&first[8..16]), base + rings[0].layout.descriptors);
}

#[test]
fn notifications_pass_through_both_ways() {
    let machine = TestMachine::new();
    let (recorder, plugged) = plug(&machine);
    let driver = PciDriver::probe(&machine, plugged.slot);
    driver.start(8);
    driver.notify(1);
    plugged.run();
    let mut count = [0; 8];
    recorder
        .bell(SET_VRING_KICK, 1)
        .read_exact(&mut count)
        .unwrap();
    assert_eq!(u64::from_ne_bytes(count), 1);
    let mut call = recorder.bell(SET_VRING_CALL, 1);
    call.write_all(&1u64.to_ne_bytes()).unwrap();
    plugged.run();
    assert_eq!(plugged.vectors.take_raised(), [2]);
}

#[test]
fn after_a_reset_the_process_has_no_queue_and_nobody_is_interrupted() {
    let machine = TestMachine::new();
    let (recorder, plugged) = plug(&machine);
    let driver = PciDriver::probe(&machine, plugged.slot);
    driver.start(8);
    let mut call = recorder.bell(SET_VRING_CALL, 0);
    driver.set_status(0);
    assert_eq!(recorder.heard(GET_VRING_BASE), QUEUES);
    call.write_all(&1u64.to_ne_bytes()).unwrap();
    plugged.run();
    assert_eq!(plugged.vectors.take_raised(), Vec::<u16>::new());
    driver.start(4);
    assert_eq!(recorder.heard(SET_VRING_NUM), 2 * QUEUES);
}

#[test]
fn a_reset_is_over_when_the_process_has_used_what_it_took() {
    let machine = TestMachine::new();
    let (recorder, plugged) = plug(&machine);
    let driver = PciDriver::probe(&machine, plugged.slot);
    let rings = driver.start(8);
    recorder.taken.store(3, Ordering::SeqCst);
    driver.set_status(0);
    for ring in &rings {
        assert_ne!(driver.status(), 0, "requests are under way");
        driver.set_status(1);
        assert_ne!(driver.status(), 1, "the driver does not wait");
        let used = ring.layout.used + 2;
        machine.ram.write(used, &3u16.to_le_bytes());
    }
    assert_eq!(driver.status(), 0);
    recorder.taken.store(0, Ordering::SeqCst);
    driver.start(8);
}

#[test]
fn a_queue_that_was_handed_over_before_another_was_refused_is_taken_back() {
    let machine = TestMachine::new();
    let (recorder, plugged) = plug(&machine);
    let driver = PciDriver::probe(&machine, plugged.slot);
    start_with_descriptors_at(&driver, GuestRam::SEAM - 16);
    driver.set_status(0);
    assert_eq!(recorder.heard(GET_VRING_BASE), 1);
}

/// Starts the device with its second queue's descriptors at `descriptors`, which is a mistake.
#[track_caller]
fn check_refused(descriptors: u64) {
    let machine = TestMachine::new();
    let (recorder, plugged) = plug(&machine);
    let driver = PciDriver::probe(&machine, plugged.slot);
    start_with_descriptors_at(&driver, descriptors);
    let told = (0..recorder.heard(SET_VRING_ADDR)).map(|n| recorder.payload(SET_VRING_ADDR, n));
    assert!(told.into_iter().all(|address| address[0] == 0), "queue 1");
}

#[track_caller]
fn start_with_descriptors_at(driver: &PciDriver<'_>, descriptors: u64) {
    driver.negotiate();
    driver.enable_msix(3);
    let mut rings = [8, 8].map(|size| Ring::new(&driver.machine.ram, size));
    rings[1].layout.descriptors = descriptors;
    for (index, ring) in (0..).zip(&rings) {
        driver.set_up_queue(index, ring);
    }
    driver.set_status(15);
    assert_eq!(driver.status() & 64, 64, "it needs a reset");
}

#[test]
fn a_queue_outside_of_memory_is_never_handed_over() {
    check_refused(GuestRam::END - 16);
    check_refused(u64::MAX - 15);
}

#[test]
fn a_queue_in_two_pieces_of_memory_is_never_handed_over() {
    check_refused(GuestRam::SEAM - 16);
}

#[test]
fn the_end_of_the_process_is_an_error_of_the_hosts() {
    let machine = TestMachine::new();
    let (recorder, plugged) = plug(&machine);
    plugged.run();
    recorder.die();
    let error = plugged.worker.handle(2 * QUEUES).unwrap_err();
    let expected = "the process that serves files to the guest is gone";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_process_that_can_not_do_what_drivers_may_use_is_refused() {
    let (_recorder, socket) = Recorder::start(FEATURES & !(1 << 29));
    let error = Fs::connect("files".parse().unwrap(), socket).err().unwrap();
    assert!(matches!(error, ConnectError::Features(missing) if missing == 1 << 29));
}

#[test]
fn a_guest_reads_tag_and_number_of_queues() {
    let (_recorder, socket) = Recorder::start(FEATURES);
    let fs = Fs::connect("files".parse().unwrap(), socket).unwrap();
    let mut config = [0xff; 44];
    fs.read_config(0, &mut config);
    assert_eq!(&config[..6], b"files\0");
    assert_eq!(config[36..], [1, 0, 0, 0, 0, 0, 0, 0]);
}
