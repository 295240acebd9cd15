//! Disks as drivers, good and bad, use them.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use proptest::prelude::*;

use super::disk::SECTOR;
use super::*;
use crate::test_guest::{Direct, GuestRam, PciDriver, TestMachine, WRITE};

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

const OK: u8 = 0;
const IOERR: u8 = 1;
const UNSUPP: u8 = 2;

fn header(kind: u32, sector: u64) -> Vec<u8> {
    let mut header = Vec::from(kind.to_le_bytes());
    header.extend([0; 4]);
    header.extend(sector.to_le_bytes());
    header
}

fn file(content: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    Arc::new(file)
}

fn extent(file: &Arc<File>, offset: u64, len: u64) -> Extent {
    Extent {
        file: Arc::clone(file),
        offset,
        len,
    }
}

/// `len` bytes no two sectors of which are alike.
fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|n| u8::try_from((n / 512 * 7 + n) % 251).unwrap())
        .collect()
}

fn blk(disk: Disk) -> Direct<Blk> {
    Direct::new(Blk::new(disk, "serial-1".parse().unwrap()))
}

/// A disk of three extents out of two files, and its content.
fn concatenation() -> (Disk, Vec<u8>) {
    let (a, b) = (pattern(0x2000), pattern(0x3000));
    let content = [&a[0x400..0x1400], &b[..0x200], &b[0x1000..0x2600]].concat();
    let (a, b) = (file(&a), file(&b));
    let extents = vec![
        extent(&a, 0x400, 0x1000),
        extent(&b, 0, 0x200),
        extent(&b, 0x1000, 0x1600),
    ];
    (Disk::read_only(extents).unwrap(), content)
}

fn writable(content: &[u8]) -> (Direct<Blk>, Arc<File>) {
    let file = file(content);
    let disk = Disk::read_write(extent(&file, 0, content.len() as u64)).unwrap();
    (blk(disk), file)
}

/// Does one request and gives its status and what it read.
fn request(blk: &mut Direct<Blk>, kind: u32, sector: u64, out: &[u8], room: u32) -> (u8, Vec<u8>) {
    let header = header(kind, sector);
    let readable: &[&[u8]] = if out.is_empty() {
        &[&header]
    } else {
        &[&header, out]
    };
    let writable: &[u32] = if room == 0 { &[1] } else { &[room, 1] };
    let added = blk.rings[0].add(readable, writable);
    blk.run(0);
    let (head, _) = blk.rings[0].used().expect("the request is answered");
    assert_eq!(head, added.head);
    let mut written = blk.rings[0].written(&added);
    (written.pop().unwrap(), written)
}

fn read_file(file: &File, offset: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    file.read_exact_at(&mut data, offset).unwrap();
    data
}

#[test]
fn a_read_across_extents_is_put_together() {
    let (disk, content) = concatenation();
    let mut blk = blk(disk);
    let len = u32::try_from(content.len()).unwrap();
    assert_eq!(request(&mut blk, IN, 0, &[], len), (OK, content.clone()));
    let (status, data) = request(&mut blk, IN, 7, &[], 0x600);
    assert_eq!((status, &data[..]), (OK, &content[0xe00..0x1400]));
    assert_eq!(blk.counter("blk_read_bytes"), u64::from(len) + 0x600);
}

#[test]
fn a_read_beyond_the_end_fails_and_touches_nothing() {
    let (disk, content) = concatenation();
    let sectors = content.len() as u64 / SECTOR;
    let mut blk = blk(disk);
    for sector in [sectors, sectors - 1, u64::MAX, u64::MAX / SECTOR, 1 << 55] {
        let (status, data) = request(&mut blk, IN, sector, &[], 1024);
        assert_eq!((status, data), (IOERR, vec![0; 1024]), "{sector:#x}");
    }
    assert_eq!(blk.counter("blk_refused"), 5);
    assert!(!blk.needs_reset());
}

#[test]
fn a_part_of_a_sector_is_no_request() {
    let (disk, _) = concatenation();
    assert_eq!(request(&mut blk(disk), IN, 0, &[], 100).0, IOERR);
    let (mut blk, _) = writable(&pattern(0x1000));
    assert_eq!(request(&mut blk, OUT, 0, &[1; 100], 0).0, IOERR);
}

#[test]
fn a_read_only_disk_is_not_written() {
    let (disk, content) = concatenation();
    let mut blk = blk(disk);
    assert_eq!(blk.device.features() >> 5 & 1, 1);
    assert_eq!(request(&mut blk, OUT, 0, &[1; 512], 0).0, IOERR);
    for kind in [FLUSH, DISCARD, WRITE_ZEROES] {
        assert_eq!(request(&mut blk, kind, 0, &[0; 16], 0).0, UNSUPP);
    }
    assert_eq!(request(&mut blk, IN, 0, &[], 512).1, content[..512]);
}

#[test]
fn what_is_written_is_in_the_file_and_read_again() {
    let (mut blk, file) = writable(&[0; 0x4000]);
    let data = pattern(0x600);
    assert_eq!(request(&mut blk, OUT, 2, &data, 0).0, OK);
    assert_eq!(request(&mut blk, FLUSH, 0, &[], 0).0, OK);
    assert_eq!(read_file(&file, 0x400, 0x600), data);
    assert_eq!(request(&mut blk, IN, 2, &[], 0x600), (OK, data));
    assert_eq!(blk.counter("blk_written_bytes"), 0x600);
}

#[test]
fn a_disk_in_the_middle_of_a_file_leaves_the_rest_of_it_alone() {
    let whole = pattern(0x3000);
    let file = file(&whole);
    let mut blk = blk(Disk::read_write(extent(&file, 0x1000, 0x1000)).unwrap());
    assert_eq!(request(&mut blk, OUT, 0, &[9; 0x1000], 0).0, OK);
    assert_eq!(request(&mut blk, OUT, 8, &[9; 512], 0).0, IOERR);
    assert_eq!(read_file(&file, 0, 0x1000), whole[..0x1000]);
    assert_eq!(read_file(&file, 0x2000, 0x1000), whole[0x2000..]);
}

fn ranges(ranges: &[(u64, u32, u32)]) -> Vec<u8> {
    let parts = ranges.iter().map(|(sector, count, flags)| {
        let mut range = Vec::from(sector.to_le_bytes());
        range.extend(count.to_le_bytes());
        range.extend(flags.to_le_bytes());
        range
    });
    parts.collect::<Vec<_>>().concat()
}

#[test]
fn what_is_discarded_gives_its_space_back_and_reads_as_zeros() {
    let (mut blk, file) = writable(&[7; 0x10_0000]);
    let before = file.metadata().unwrap().blocks();
    let out = ranges(&[(0, 1024, 0), (1536, 512, 0)]);
    assert_eq!(request(&mut blk, DISCARD, 0, &out, 0).0, OK);
    assert!(file.metadata().unwrap().blocks() < before);
    assert_eq!(file.metadata().unwrap().len(), 0x10_0000);
    assert_eq!(read_file(&file, 0, 0x8_0000), vec![0; 0x8_0000]);
    assert_eq!(read_file(&file, 0x8_0000, 0x4_0000), vec![7; 0x4_0000]);
}

#[test]
fn zeroes_are_written_with_and_without_giving_space_back() {
    for flags in [0, 1] {
        let (mut blk, file) = writable(&[7; 0x2000]);
        let out = ranges(&[(1, 8, flags)]);
        assert_eq!(request(&mut blk, WRITE_ZEROES, 0, &out, 0).0, OK);
        assert_eq!(read_file(&file, 0, 0x200), [7; 0x200]);
        assert_eq!(read_file(&file, 0x200, 0x1000), [0; 0x1000]);
        assert_eq!(read_file(&file, 0x1200, 0xe00), [7; 0xe00]);
    }
}

#[track_caller]
fn check_ranges(kind: u32, out: &[u8], status: u8) {
    let (mut blk, file) = writable(&[7; 0x2000]);
    assert_eq!(request(&mut blk, kind, 0, out, 0).0, status);
    assert_eq!(read_file(&file, 0, 0x2000), [7; 0x2000], "nothing was done");
}

#[test]
fn ranges_that_make_no_sense_are_refused() {
    for kind in [DISCARD, WRITE_ZEROES] {
        check_ranges(kind, &ranges(&[(16, 1, 0)]), IOERR);
        check_ranges(kind, &ranges(&[(u64::MAX, 1, 0)]), IOERR);
        check_ranges(kind, &ranges(&[(0, u32::MAX, 0)]), IOERR);
        check_ranges(kind, &ranges(&[(0, 1, 2)]), UNSUPP);
        check_ranges(kind, &[0; 15], IOERR);
        check_ranges(kind, &ranges(&[(0, 0, 0); 33]), IOERR);
    }
    check_ranges(DISCARD, &ranges(&[(0, 1, 1)]), UNSUPP);
}

#[test]
fn a_range_is_bounded_so_that_nobody_waits_long_for_it() {
    let file = file(&[]);
    file.set_len(1 << 32).unwrap();
    let mut blk = blk(Disk::read_write(extent(&file, 0, 1 << 32)).unwrap());
    for (sectors, status) in [(1 << 21, OK), ((1 << 21) + 1, IOERR)] {
        let out = ranges(&[(0, sectors, 0)]);
        assert_eq!(request(&mut blk, DISCARD, 0, &out, 0).0, status);
    }
}

#[test]
fn a_device_without_work_wants_to_be_notified() {
    let (mut blk, _) = writable(&[0; 0x1000]);
    blk.run(0);
    assert!(blk.rings[0].notifications_wanted());
    assert_eq!(request(&mut blk, FLUSH, 0, &[], 0).0, OK);
    assert!(blk.rings[0].notifications_wanted());
}

#[test]
fn the_serial_number_tells_disks_apart() {
    let (disk, _) = concatenation();
    let mut blk = blk(disk);
    let (status, data) = request(&mut blk, GET_ID, 0, &[], 20);
    assert_eq!(
        (status, &data[..]),
        (OK, &b"serial-1\0\0\0\0\0\0\0\0\0\0\0\0"[..])
    );
    assert_eq!(request(&mut blk, GET_ID, 0, &[], 19).0, IOERR);
}

#[test]
fn an_unknown_request_is_unsupported() {
    let (mut blk, _) = writable(&[0; 0x1000]);
    for kind in [2, 3, 14, u32::MAX] {
        assert_eq!(request(&mut blk, kind, 0, &[], 512).0, UNSUPP);
    }
}

#[test]
fn header_data_and_status_may_be_cut_anywhere() {
    let (mut blk, _) = writable(&pattern(0x1000));
    let header = header(IN, 1);
    let added = blk.rings[0].add(&[&header[..3], &header[3..16]], &[5, 600, 420]);
    blk.run(0);
    assert_eq!(blk.rings[0].used(), Some((added.head, 1025)));
    let mut written = blk.rings[0].written(&added);
    assert_eq!(written.pop(), Some(OK));
    assert_eq!(written, pattern(0x1000)[512..1536]);
}

#[test]
fn a_buffer_across_two_regions_of_memory_is_filled() {
    let (mut blk, _) = writable(&pattern(0x1000));
    let (header, status) = (blk.ram.place(&header(IN, 0)), blk.ram.room(1));
    let data = GuestRam::SEAM - 100;
    blk.rings[0].add_buffers(&[(header, 16, 0), (data, 512, WRITE), (status, 1, WRITE)]);
    blk.run(0);
    assert_eq!(blk.ram.read(data, 512), pattern(512));
}

#[test]
fn a_chain_that_is_no_request_needs_a_reset() {
    let (mut blk, _) = writable(&[0; 0x1000]);
    let header = header(IN, 0);
    let chains: [(&[&[u8]], &[u32]); 4] = [
        (&[], &[1]),
        (&[&header[..15]], &[513]),
        (&[&header], &[]),
        (&[], &[]),
    ];
    for (count, (readable, writable)) in (1..).zip(chains) {
        if readable.is_empty() && writable.is_empty() {
            blk.rings[0].add_buffers(&[(0, 0, 0)]);
        } else {
            blk.rings[0].add(readable, writable);
        }
        blk.run(0);
        assert!(blk.needs_reset());
        assert_eq!(blk.rings[0].used(), None);
        assert_eq!(blk.counter("blk_guest_errors"), count);
        blk.device.reset();
        blk.activate();
    }
    assert_eq!(request(&mut blk, IN, 0, &[], 512).0, OK, "a reset helps");
}

#[test]
fn a_file_that_shrank_is_an_error_of_the_host() {
    let (mut blk, file) = writable(&[1; 0x2000]);
    file.set_len(0x800).unwrap();
    assert_eq!(request(&mut blk, IN, 0, &[], 0x1000).0, IOERR);
    assert_eq!(request(&mut blk, IN, 0, &[], 0x800).0, OK);
    assert_eq!(blk.counter("blk_io_errors"), 1);
    assert!(!blk.needs_reset());
}

#[test]
fn many_requests_are_served_in_one_go_but_not_without_end() {
    let (mut blk, _) = writable(&pattern(0x1000));
    for _ in 0..100 {
        blk.rings[0].add(&[&header(FLUSH, 0)], &[1]);
    }
    assert_eq!(blk.process(0).unwrap(), Progress::Idle);
    assert_eq!(std::iter::from_fn(|| blk.rings[0].used()).count(), 100);
}

#[test]
fn extents_must_be_sectors_of_their_files() {
    let file = file(&[0; 0x1000]);
    let bad = |offset, len| Disk::read_only(vec![extent(&file, offset, len)]).unwrap_err();
    assert!(matches!(bad(1, 512), DiskError::Sectors(0)));
    assert!(matches!(bad(0, 511), DiskError::Sectors(0)));
    assert!(matches!(bad(0, 0), DiskError::Sectors(0)));
    assert!(matches!(
        bad(512, 0x1000),
        DiskError::BeyondEnd { index: 0, .. }
    ));
    assert!(matches!(bad(!511, 512), DiskError::TooLong));
    assert!(matches!(Disk::read_only(vec![]), Err(DiskError::Empty)));
}

#[test]
fn a_driver_reads_the_disk_over_pci() {
    let (disk, content) = concatenation();
    let machine = TestMachine::new();
    let plugged = machine.plug(Blk::new(disk, "s".parse().unwrap()));
    let driver = PciDriver::probe(&machine, plugged.slot);
    let mut rings = driver.start(16);
    assert_eq!(
        machine.read(driver.device, 8),
        content.len() as u64 / SECTOR
    );
    assert_eq!(machine.read(driver.device + 12, 4), 254);
    assert_eq!(machine.read(driver.device + 20, 4), 512);
    let added = rings[0].add(&[&header(IN, 1)], &[512, 1]);
    driver.notify(0);
    plugged.run();
    assert_eq!(rings[0].used(), Some((added.head, 513)));
    assert_eq!(rings[0].written(&added)[..512], content[512..1024]);
    assert_eq!(plugged.vectors.take_raised(), [1]);
}

/// A request as a driver with a bug, or without scruples, makes it.
#[derive(Clone, Debug)]
struct Hostile {
    kind: u32,
    sector: u64,
    out: Vec<u8>,
    cut: usize,
    writable: Vec<u32>,
}

fn hostile() -> impl Strategy<Value = Hostile> {
    let kind = prop::sample::select(vec![IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES]);
    let kind = prop_oneof![8 => kind, 1 => any::<u32>()];
    let sector = prop_oneof![6 => 0u64..20, 1 => any::<u64>()];
    let out = prop_oneof![
        2 => Just(Vec::new()),
        3 => (0usize..4).prop_flat_map(|n| proptest::collection::vec(any::<u8>(), 512 * n)),
        2 => proptest::collection::vec((0u64..24, 0u32..12, 0u32..3), 0..4)
            .prop_map(|r| ranges(&r)),
        1 => proptest::collection::vec(any::<u8>(), 0..100),
    ];
    let len = prop_oneof![3 => (1u32..5).prop_map(|n| 512 * n), 2 => 1u32..40];
    let writable = prop_oneof![
        3 => (len.clone()).prop_map(|l| vec![l, 1]),
        2 => proptest::collection::vec(len, 0..4),
    ];
    (kind, sector, out, 0usize..20, writable).prop_map(|(kind, sector, out, cut, writable)| {
        Hostile {
            kind,
            sector,
            out,
            cut,
            writable,
        }
    })
}

/// The disk as it should be: bytes in memory.
fn carry_out(content: &mut [u8], request: &Hostile, room: usize) -> (u8, Option<Vec<u8>>) {
    let len = content.len() as u64;
    let place = |sector: u64, count: usize| -> Option<std::ops::Range<usize>> {
        let start = sector.checked_mul(512)?;
        let end = start.checked_add(count as u64)?;
        let fits = count.is_multiple_of(512) && end <= len;
        fits.then(|| usize::try_from(start).unwrap()..usize::try_from(end).unwrap())
    };
    match request.kind {
        IN => match place(request.sector, room) {
            Some(range) => (OK, Some(content[range].to_vec())),
            None => (IOERR, None),
        },
        OUT => match place(request.sector, request.out.len()) {
            Some(range) => {
                content[range].copy_from_slice(&request.out);
                (OK, None)
            }
            None => (IOERR, None),
        },
        FLUSH => (OK, None),
        GET_ID => (if room >= 20 { OK } else { IOERR }, None),
        DISCARD | WRITE_ZEROES => {
            if !request.out.len().is_multiple_of(16) || request.out.len() > 512 {
                return (IOERR, None);
            }
            for range in request.out.chunks(16) {
                let sector = u64::from_le_bytes(range[..8].try_into().unwrap());
                let count = u32::from_le_bytes(range[8..12].try_into().unwrap());
                let flags = u32::from_le_bytes(range[12..].try_into().unwrap());
                let bytes = usize::try_from(count).unwrap() * 512;
                let Some(place) = place(sector, bytes).filter(|_| count <= 1 << 21) else {
                    return (IOERR, None);
                };
                if flags > 1 || (flags == 1 && request.kind == DISCARD) {
                    return (UNSUPP, None);
                }
                content[place].fill(0);
            }
            (OK, None)
        }
        _ => (UNSUPP, None),
    }
}

proptest! {
    #[test]
    fn a_disk_does_what_bytes_in_memory_do(
        requests in proptest::collection::vec(hostile(), 1..20),
    ) {
        let mut content = pattern(0x2000);
        let (mut blk, file) = writable(&content);
        for request in requests {
            let mut readable = header(request.kind, request.sector);
            readable.extend(&request.out);
            let cut = request.cut.min(readable.len());
            let (first, rest) = readable.split_at(cut);
            let parts: Vec<&[u8]> = [first, rest].into_iter().filter(|p| !p.is_empty()).collect();
            let added = blk.rings[0].add(&parts, &request.writable);
            let total: u32 = request.writable.iter().sum();
            blk.run(0);
            let Some(room) = usize::try_from(total).unwrap().checked_sub(1) else {
                prop_assert!(blk.needs_reset());
                blk.device.reset();
                blk.activate();
                continue;
            };
            let (status, data) = carry_out(&mut content, &request, room);
            prop_assert_eq!(blk.rings[0].used().map(|u| u.0), Some(added.head));
            let mut written = blk.rings[0].written(&added);
            prop_assert_eq!(written.pop(), Some(status));
            if let Some(data) = data {
                prop_assert_eq!(written, data);
            }
        }
        prop_assert_eq!(read_file(&file, 0, content.len()), content);
    }

    #[test]
    fn any_cut_of_any_extents_is_read_like_their_concatenation(
        lengths in proptest::collection::vec((0u64..4, 1u64..6), 1..12),
        reads in proptest::collection::vec((0u64..70, 1u32..20), 1..20),
    ) {
        let source = pattern(0x2000);
        let source_file = file(&source);
        let mut content = Vec::new();
        let mut extents = Vec::new();
        for (offset, len) in lengths {
            extents.push(extent(&source_file, 512 * offset, 512 * len));
            let start = usize::try_from(512 * offset).unwrap();
            content.extend(&source[start..start + usize::try_from(512 * len).unwrap()]);
        }
        let mut blk = blk(Disk::read_only(extents).unwrap());
        for (sector, count) in reads {
            let (status, data) = request(&mut blk, IN, sector, &[], 512 * count);
            let start = usize::try_from(512 * sector).unwrap();
            match content.get(start..start + data.len()) {
                Some(wanted) => prop_assert_eq!((status, &data[..]), (OK, wanted)),
                None => prop_assert_eq!(status, IOERR),
            }
        }
    }
}
