//! What went wrong in other monitors, each as a test that it can't here.
//!
//! Two more are tests of the vsock device: its receive queue is held back until the guest has read
//! of a transport reset (`after_a_transport_reset_the_guest_hears_of_that_first`).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace};

use crate::test_guest::{Direct, GuestRam, PciDriver, Ring, TestMachine, WRITE, common};
use crate::virtio::blk::{Disk, Extent};
use crate::virtio::vsock::{HOST_CID, Header, Sent};
use crate::virtio::{Blk, Memory, Rng, VirtioDevice, Vsock, VsockBackend};

fn disk(content: &[u8]) -> (Blk, Arc<File>) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    let file = Arc::new(file);
    let extent = Extent {
        file: Arc::clone(&file),
        offset: 0,
        len: content.len() as u64,
    };
    let disk = Disk::read_write(extent).unwrap();
    (Blk::new(disk, "disk".parse().unwrap()), file)
}

/// A read of the first sector.
const READ: [u8; 16] = [0; 16];

/// Firecracker's virtio-pci took queue sizes and addresses while the device used them: writes out
/// of bounds, or a division by zero.
#[test]
fn cve_2026_5747_queue_registers_do_nothing_once_the_driver_is_ready() {
    let machine = TestMachine::new();
    let plugged = machine.plug(disk(&[7; 512]).0);
    let driver = PciDriver::probe(&machine, plugged.slot);
    let mut rings = driver.start(8);
    let layout = rings[0].layout;
    for size in [0, 3, 32768, 0xffff] {
        driver.set(common::QUEUE_SIZE, 2, size);
        driver.set_address(common::QUEUE_DESC, 0xffff_ffff_ffff_0000);
        driver.set_address(common::QUEUE_DRIVER, 0xffff_ffff_ffff_0000);
        driver.set_address(common::QUEUE_DEVICE, 0xffff_ffff_ffff_0000);
        driver.set(common::QUEUE_ENABLE, 2, 0);
    }
    assert_eq!(driver.get(common::QUEUE_SIZE, 2), 8);
    assert_eq!(driver.get(common::QUEUE_ENABLE, 2), 1);
    assert_eq!(driver.get(common::QUEUE_DESC, 4), layout.descriptors);
    let added = rings[0].add(&[&READ], &[512, 1]);
    driver.notify(0);
    plugged.run();
    assert_eq!(rings[0].used(), Some((added.head, 513)));
}

/// The same before the features are settled, and crosvm's vhost-vsock, which checked a size and
/// used one that was written later.
#[test]
fn crosvm_b4a952843_a_queue_is_settled_when_it_is_enabled() {
    let machine = TestMachine::new();
    let plugged = machine.plug(Rng::new());
    let driver = PciDriver::probe(&machine, plugged.slot);
    driver.set(common::QUEUE_SIZE, 2, 2);
    assert_eq!(driver.get(common::QUEUE_SIZE, 2), 16, "too early");
    driver.negotiate();
    driver.set_up_queue(0, &Ring::new(&machine.ram, 8));
    driver.set(common::QUEUE_SIZE, 2, 4);
    assert_eq!(driver.get(common::QUEUE_SIZE, 2), 8, "too late");
}

/// Cloud Hypervisor's block device was given one descriptor twice and freed its buffer under the
/// first.
#[test]
fn cve_2026_45782_a_chain_the_device_has_is_not_taken_again() {
    struct Nobody(OwnedFd);
    impl VsockBackend for Nobody {
        fn host_fd(&self) -> io::Result<OwnedFd> {
            self.0.try_clone()
        }
        fn host_event(&mut self) {}
        fn send(&mut self, _packet: &Header, _payload: &[u8]) -> Sent {
            Sent::Taken
        }
        fn has_pending(&self) -> bool {
            false
        }
        fn receive(&mut self, _payload: &mut [u8]) -> Option<Header> {
            None
        }
        fn reset(&mut self) {}
    }
    // The vsock device keeps the buffers for events.
    let fd = tempfile::tempfile().unwrap().into();
    let mut vsock = Direct::new(Vsock::new(3, Box::new(Nobody(fd))).unwrap());
    let added = vsock.rings[2].add(&[], &[4]);
    vsock.run(2);
    assert!(!vsock.needs_reset());
    vsock.rings[2].make_available(added.head);
    vsock.run(2);
    assert!(vsock.needs_reset());
}

/// Firecracker's vsock device went beyond the end of a buffer that was shorter than its header
/// said.
#[test]
fn cve_2019_18960_a_packet_is_not_longer_than_its_buffers() {
    let (mut vsock, seen) = vsock_that_rewrites(|_| {});
    let header = Header {
        src_cid: 3,
        dst_cid: HOST_CID,
        len: 4096,
        ..Header::default()
    };
    vsock.rings[1].add(&[&header.to_bytes(), &[1; 4095]], &[]);
    vsock.run(1);
    assert!(seen.lock().is_empty());
    let exact = Header {
        len: 4095,
        ..header
    };
    vsock.rings[1].add(&[&exact.to_bytes(), &[1; 4095]], &[]);
    vsock.run(1);
    assert_eq!(seen.lock()[0].1.len(), 4095);
}

/// Cloud Hypervisor read a packet's header from guest memory twice, with the guest in between.
#[test]
fn ch_929df76e1_a_packet_that_changes_while_it_is_looked_at_does_not_change() {
    let place = Arc::new(Mutex::new(0));
    let at = Arc::clone(&place);
    let (mut vsock, seen) = vsock_that_rewrites(move |memory| {
        let everything = [0xff; 48];
        let memory = memory.memory();
        memory
            .write_slice(&everything, GuestAddress(*at.lock()))
            .unwrap();
    });
    let header = Header {
        src_cid: 3,
        dst_cid: HOST_CID,
        len: 4,
        op: 5,
        ..Header::default()
    };
    let packet = [&header.to_bytes()[..], b"data"].concat();
    let address = vsock.ram.place(&packet);
    *place.lock() = address;
    vsock.rings[1].add_buffers(&[(address, 48, 0)]);
    vsock.run(1);
    assert_eq!(*seen.lock(), [(header, b"data".to_vec())]);
    assert_eq!(vsock.counter("vsock_tx_bytes"), 4);
}

type Seen = Arc<Mutex<Vec<(Header, Vec<u8>)>>>;

/// A device whose guest does `rewrite` just when the backend is handed a packet.
fn vsock_that_rewrites(rewrite: impl Fn(&Memory) + Send + 'static) -> (Direct<Vsock>, Seen) {
    struct Rewriter<F> {
        rewrite: F,
        memory: Arc<Mutex<Option<Memory>>>,
        seen: Seen,
    }
    impl<F: Fn(&Memory) + Send> VsockBackend for Rewriter<F> {
        fn host_fd(&self) -> io::Result<OwnedFd> {
            Ok(tempfile::tempfile()?.into())
        }
        fn host_event(&mut self) {}
        fn send(&mut self, packet: &Header, payload: &[u8]) -> Sent {
            (self.rewrite)(self.memory.lock().as_ref().unwrap());
            self.seen.lock().push((*packet, payload.to_vec()));
            Sent::Taken
        }
        fn has_pending(&self) -> bool {
            false
        }
        fn receive(&mut self, _payload: &mut [u8]) -> Option<Header> {
            None
        }
        fn reset(&mut self) {}
    }
    let (memory, seen) = (Arc::default(), Seen::default());
    let backend = Rewriter {
        rewrite,
        memory: Arc::clone(&memory),
        seen: Arc::clone(&seen),
    };
    let direct = Direct::new(Vsock::new(3, Box::new(backend)).unwrap());
    *memory.lock() = Some(direct.ram.memory());
    (direct, seen)
}

/// Cloud Hypervisor and crosvm used what a driver selected as an index: a panic that ends the
/// machine.
#[test]
fn ch_082fdc4d0_a_selected_queue_that_does_not_exist_reads_as_nothing() {
    let machine = TestMachine::new();
    let plugged = machine.plug(Rng::new());
    let driver = PciDriver::probe(&machine, plugged.slot);
    driver.negotiate();
    for queue in [1, 2, 0x7fff, 0xffff] {
        driver.set(common::QUEUE_SELECT, 2, queue);
        driver.set(common::QUEUE_SIZE, 2, 4);
        driver.set(common::QUEUE_VECTOR, 2, 0);
        driver.set_address(common::QUEUE_DESC, 0x1000);
        driver.set(common::QUEUE_ENABLE, 2, 1);
        assert_eq!(driver.get(common::QUEUE_SIZE, 2), 0);
        assert_eq!(driver.get(common::QUEUE_ENABLE, 2), 0);
        assert_eq!(driver.get(common::QUEUE_VECTOR, 2), 0xffff);
        machine.write(driver.notify + 4 * queue, 2, queue);
    }
}

/// The same for interrupt vectors and pending bits.
#[test]
fn ch_3b431afba_a_vector_that_does_not_exist_is_no_vector() {
    let machine = TestMachine::new();
    let plugged = machine.plug(Rng::new());
    let driver = PciDriver::probe(&machine, plugged.slot);
    driver.enable_msix(2);
    for vector in [2, 3, 0x7ff, 0xfffe] {
        driver.set(common::CONFIG_VECTOR, 2, vector);
        assert_eq!(driver.get(common::CONFIG_VECTOR, 2), 0xffff);
        driver.set(common::QUEUE_VECTOR, 2, vector);
        assert_eq!(driver.get(common::QUEUE_VECTOR, 2), 0xffff);
    }
    for offset in (0..0x1000).step_by(4) {
        machine.write(driver.msix_table + 32 + offset, 4, 0xffff_ffff);
        machine.write(driver.msix_pending + offset, 4, 0xffff_ffff);
        machine.read(driver.msix_pending + offset, 8);
    }
    assert_eq!(plugged.vectors.routes().len(), 2);
    assert_eq!(machine.read(driver.msix_pending, 8), 0);
}

/// QEMU's devices wrote into their own registers when a buffer said so, and were called while they
/// were at work.
#[test]
fn cve_2024_3446_a_buffer_never_leads_into_a_device() {
    let machine = TestMachine::new();
    let (blk, _) = disk(&[0; 512]);
    let plugged = machine.plug(blk);
    let driver = PciDriver::probe(&machine, plugged.slot);
    let mut rings = driver.start(8);
    let (header, status) = (machine.ram.place(&READ), machine.ram.room(1));
    rings[0].add_buffers(&[
        (header, 16, 0),
        (driver.common, 512, WRITE),
        (status, 1, WRITE),
    ]);
    driver.notify(0);
    plugged.run();
    assert_eq!(driver.status(), 15 | 64);
    assert_eq!(plugged.vectors.take_raised(), [0]);
}

/// Firecracker filled as much memory with random bytes as a guest asked for (#5762).
#[test]
fn fc_5762_a_request_for_random_bytes_is_bounded() {
    let mut rng = Direct::new(Rng::new());
    let added = rng.rings[0].add(&[], &[0x8_0000, 0x8_0000]);
    rng.run(0);
    assert_eq!(rng.rings[0].used(), Some((added.head, 0x1_0000)));
    assert!(rng.counter("rng_bytes") <= 0x1_0000);
}

/// An available index further ahead than the queue is long made Firecracker work without end.
#[test]
fn fc_1_2_an_available_index_beyond_the_queue_stops_the_device() {
    for index in [17, 0x8000, 0xffff] {
        let mut rng = Direct::new(Rng::new());
        rng.rings[0].set_available(index);
        rng.run(0);
        assert!(rng.needs_reset());
        assert_eq!(rng.counter("rng_requests"), 0);
        rng.device.reset();
        rng.activate();
        rng.rings[0].add(&[], &[8]);
        rng.run(0);
        assert!(rng.rings[0].used().is_some(), "a reset helps");
    }
}

/// A guest wrote a qcow2 header onto its disk, whose backing file Cloud Hypervisor then opened.
#[test]
fn ghsa_jmr4_g2hv_mjj6_a_disk_is_bytes_whatever_is_in_them() {
    let mut header = b"QFI\xfb\0\0\0\x02\0\0\0\0\0\0\0\x50\0\0\0\x0b".to_vec();
    header.resize(0x50, 0);
    header.extend(b"/etc/shadow");
    header.resize(512, 0);
    let mut blk = Direct::new(disk(&header).0);
    let added = blk.rings[0].add(&[&READ], &[512, 1]);
    blk.run(0);
    assert_eq!(blk.rings[0].written(&added)[..512], header);
}

/// A guest may put a device's rings over each other; only it comes to harm.
#[test]
fn rings_that_lie_on_each_other_harm_only_the_guest() {
    let ram = GuestRam::new();
    let mut ring = Ring::new(&ram, 16);
    ring.layout.used = ring.layout.descriptors;
    ring.layout.available = ring.layout.descriptors + 4;
    let mut rng = Rng::new();
    let interrupt = Arc::new(crate::test_guest::RecordingInterrupt::default());
    rng.activate(crate::virtio::Activation {
        memory: ram.memory(),
        queues: vec![ring.queue(crate::virtio::queue::EventIdx::Absent)],
        interrupt: Arc::clone(&interrupt) as Arc<dyn crate::Interrupt>,
        features: 0,
        notifiers: crate::test_guest::notifiers(1),
    })
    .unwrap();
    for _ in 0..100 {
        ring.make_available(0);
        let _ = rng.process_queue(0).unwrap();
    }
}
