//! Queues against honest drivers, hostile ones and a model.

use proptest::prelude::*;
use vm_memory::GuestAddressSpace;

use super::*;
use crate::test_guest::{GuestRam, INDIRECT, NEXT, Ring, WRITE};

const SIZE: u16 = 8;

fn ring() -> (GuestRam, Ring, Queue) {
    let ram = GuestRam::new();
    let ring = Ring::new(&ram, SIZE);
    let queue = ring.queue(EventIdx::Absent);
    (ram, ring, queue)
}

fn pop(ram: &GuestRam, queue: &mut Queue) -> Result<Option<Chain>, QueueFault> {
    queue.pop(&ram.memory().memory())
}

fn complete(ram: &GuestRam, queue: &mut Queue, chain: Chain, written: u32) {
    queue
        .complete(&ram.memory().memory(), chain, written)
        .unwrap();
}

#[test]
fn a_chain_is_read_filled_and_given_back() {
    let (ram, mut ring, mut queue) = ring();
    let added = ring.add(&[b"hello ", b"world"], &[3, 4]);
    let chain = pop(&ram, &mut queue).unwrap().unwrap();
    let memory = ram.memory();
    let memory = memory.memory();

    let mut reader = chain.reader(&memory);
    let mut text = [0; 11];
    reader.read(&mut text).unwrap();
    assert_eq!(&text, b"hello world");
    assert!(reader.read(&mut [0]).is_err());

    chain.writer(&memory).write(b"answer").unwrap();
    queue.complete(&memory, chain, 6).unwrap();
    assert_eq!(ring.used(), Some((added.head, 6)));
    assert_eq!(ring.written(&added)[..6], *b"answer");
    assert_eq!(queue.pop(&memory), Ok(None));
}

#[test]
fn a_buffer_across_two_regions_of_memory_is_one_buffer() {
    let (ram, mut ring, mut queue) = ring();
    ram.write(GuestRam::SEAM - 3, b"abcdef");
    ring.add_buffers(&[(GuestRam::SEAM - 3, 6, 0)]);
    let chain = pop(&ram, &mut queue).unwrap().unwrap();
    let memory = ram.memory();
    let mut text = [0; 6];
    chain.reader(&memory.memory()).read(&mut text).unwrap();
    assert_eq!(&text, b"abcdef");
}

#[test]
fn a_chain_that_was_put_back_comes_again() {
    let (ram, mut ring, mut queue) = ring();
    ring.add(&[b"first"], &[]);
    ring.add(&[b"second"], &[]);
    let first = pop(&ram, &mut queue).unwrap().unwrap();
    let head = first.head;
    queue.undo_pop(first);
    assert_eq!(pop(&ram, &mut queue).unwrap().unwrap().head, head);
    assert_ne!(pop(&ram, &mut queue).unwrap().unwrap().head, head);
}

#[test]
fn a_queue_that_is_off_is_empty() {
    let ram = GuestRam::new();
    let mut queue = Queue::off();
    assert_eq!(pop(&ram, &mut queue), Ok(None));
    assert_eq!(
        queue.enable_notifications(&ram.memory().memory()),
        Ok(false)
    );
}

/// One chain of `descriptors` (address, length, flags, next), at index 0 onwards.
#[track_caller]
fn check_fault(descriptors: &[(u64, u32, u16, u16)], fault: QueueFault) {
    let (ram, mut ring, mut queue) = ring();
    for (index, (address, len, flags, next)) in (0..).zip(descriptors) {
        ring.descriptor(index, *address, *len, *flags, *next);
    }
    ring.make_available(0);
    assert_eq!(pop(&ram, &mut queue), Err(fault));
    assert_eq!(
        pop(&ram, &mut queue),
        Err(QueueFault::Broken),
        "and for good"
    );
}

#[test]
fn a_chain_without_end_is_refused() {
    check_fault(&[(0, 1, NEXT, 0)], QueueFault::Malformed(0));
    check_fault(
        &[(0, 1, NEXT, 1), (0, 1, NEXT, 0)],
        QueueFault::Malformed(0),
    );
}

#[test]
fn a_chain_that_leaves_the_table_is_refused() {
    check_fault(&[(0, 1, NEXT, SIZE)], QueueFault::Malformed(0));
    check_fault(&[(0, 1, NEXT, u16::MAX)], QueueFault::Malformed(0));
}

#[test]
fn a_buffer_to_read_behind_one_to_write_is_refused() {
    check_fault(
        &[(0, 1, NEXT | WRITE, 1), (0, 1, 0, 0)],
        QueueFault::Order(0),
    );
}

#[test]
fn a_buffer_outside_of_memory_is_refused() {
    for address in [GuestRam::END, GuestRam::END - 1, u64::MAX, u64::MAX - 1] {
        check_fault(
            &[(address, 2, 0, 0)],
            QueueFault::Outside { head: 0, address },
        );
    }
}

#[test]
fn a_chain_longer_than_4_gib_is_refused() {
    let half = 1 << 31;
    let (ram, mut ring, mut queue) = ring();
    ring.descriptor(0, 0, half, NEXT, 1);
    ring.descriptor(1, 0, half, 0, 0);
    ring.make_available(0);
    assert!(pop(&ram, &mut queue).is_err());
}

#[test]
fn tables_in_tables_are_refused() {
    let (ram, mut ring, mut queue) = ring();
    let table = ram.room(32);
    ring.descriptor_at(table, 0, table, 16, INDIRECT, 0);
    ring.descriptor(0, table, 32, INDIRECT, 0);
    ring.make_available(0);
    assert_eq!(pop(&ram, &mut queue), Err(QueueFault::Malformed(0)));
}

#[test]
fn a_table_may_hold_a_chain_as_long_as_the_queue_and_no_longer() {
    for (len, good) in [(SIZE, true), (SIZE + 1, false)] {
        let (ram, mut ring, mut queue) = ring();
        let table = ram.room(16 * u64::from(len));
        for index in 0..len {
            let flags = if index + 1 == len { 0 } else { NEXT };
            ring.descriptor_at(table, index, 0x1000, 4, flags, index + 1);
        }
        ring.descriptor(3, table, 16 * u32::from(len), INDIRECT, 0);
        ring.make_available(3);
        assert_eq!(pop(&ram, &mut queue).is_ok(), good, "{len}");
    }
}

#[test]
fn a_head_outside_of_the_table_is_refused() {
    let (ram, mut ring, mut queue) = ring();
    ring.make_available(SIZE);
    assert_eq!(pop(&ram, &mut queue), Err(QueueFault::Head(SIZE)));
}

#[test]
fn a_driver_can_decline_interrupts() {
    let (ram, mut ring, mut queue) = ring();
    let memory = ram.memory();
    let memory = memory.memory();
    ring.add(&[b"x"], &[]);
    let chain = pop(&ram, &mut queue).unwrap().unwrap();
    complete(&ram, &mut queue, chain, 0);
    assert_eq!(queue.needs_interrupt(&memory), Ok(true));
    ring.set_available_flags(1);
    assert_eq!(queue.needs_interrupt(&memory), Ok(false));
}

#[test]
fn with_event_indices_a_driver_is_told_when_its_index_is_passed() {
    let ram = GuestRam::new();
    let mut ring = Ring::new(&ram, SIZE);
    let mut queue = ring.queue(EventIdx::Negotiated);
    let memory = ram.memory();
    let memory = memory.memory();
    // The driver wants to be told when the second chain is used, which is index 1.
    let used_event = ring.layout.available + 4 + 2 * u64::from(SIZE);
    ram.write(used_event, &1u16.to_le_bytes());
    for told in [false, true, false] {
        ring.add(&[b"x"], &[]);
        let chain = queue.pop(&memory).unwrap().unwrap();
        queue.complete(&memory, chain, 0).unwrap();
        assert_eq!(queue.needs_interrupt(&memory), Ok(told));
    }
    // And the device says up to where it has looked.
    let avail_event = ring.layout.used + 4 + 8 * u64::from(SIZE);
    assert_eq!(queue.enable_notifications(&memory), Ok(false));
    assert_eq!(ram.read_u16(avail_event), 3);
    ring.add(&[b"x"], &[]);
    assert_eq!(queue.enable_notifications(&memory), Ok(true));
}

#[test]
fn chains_that_belong_together_are_shown_at_once() {
    let ram = GuestRam::new();
    let mut ring = Ring::new(&ram, SIZE);
    let mut queue = ring.queue(EventIdx::Negotiated);
    let memory = ram.memory();
    let memory = memory.memory();
    // The driver wants to be told of the second of three.
    let used_event = ring.layout.available + 4 + 2 * u64::from(SIZE);
    ram.write(used_event, &1u16.to_le_bytes());
    let chains: Vec<_> = (0..3)
        .map(|_| {
            ring.add(&[], &[8]);
            queue.pop(&memory).unwrap().unwrap()
        })
        .collect();
    let heads: Vec<_> = chains.iter().map(|chain| chain.head).collect();
    queue
        .complete_all(&memory, chains.into_iter().zip(5..))
        .unwrap();
    assert_eq!(queue.needs_interrupt(&memory), Ok(true));
    assert_eq!(queue.needs_interrupt(&memory), Ok(false));
    for (head, written) in heads.into_iter().zip(5..) {
        assert_eq!(ring.used(), Some((head, written)));
    }
    assert_eq!(ring.used(), None);
}

#[track_caller]
fn check_layout(change: impl Fn(&mut QueueLayout), wanted: Result<(), QueueFault>) {
    let ram = GuestRam::new();
    let mut layout = Ring::new(&ram, SIZE).layout;
    change(&mut layout);
    let made = Queue::new(&layout, 16, EventIdx::Absent, &ram.memory().memory());
    assert_eq!(made.map(drop), wanted);
}

#[test]
fn rings_lie_in_memory_and_are_aligned() {
    check_layout(|_| {}, Ok(()));
    check_layout(|l| l.size = 16, Ok(()));
    for size in [0, 3, 32, u16::MAX] {
        check_layout(|l| l.size = size, Err(QueueFault::Size(size)));
    }
    check_layout(|l| l.descriptors = 8, Err(QueueFault::Ring(8)));
    check_layout(|l| l.available = 1, Err(QueueFault::Ring(1)));
    check_layout(|l| l.used = 2, Err(QueueFault::Ring(2)));
    let short = GuestRam::END - 16;
    check_layout(|l| l.descriptors = short, Err(QueueFault::Ring(short)));
    check_layout(|l| l.available = short, Err(QueueFault::Ring(short)));
    check_layout(|l| l.used = short, Err(QueueFault::Ring(short)));
    let wrapping = !0xf;
    check_layout(
        |l| l.descriptors = wrapping,
        Err(QueueFault::Ring(wrapping)),
    );
}

/// A descriptor as a hostile driver writes it.
#[derive(Clone, Copy, Debug)]
struct Written {
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
}

/// Two tables of `SIZE` descriptors: the queue's, and one at this address to point into.
const TABLE: u64 = 0x8_0000;

fn written() -> impl Strategy<Value = Written> {
    let address = prop_oneof![
        4 => 0x1000u64..0x2000,
        2 => (0..u64::from(SIZE)).prop_map(|n| TABLE + 16 * n),
        1 => Just(GuestRam::SEAM - 4),
        1 => GuestRam::END - 64..GuestRam::END + 64,
        1 => any::<u64>(),
    ];
    let len = prop_oneof![4 => 0u32..64, 2 => (0u32..10).prop_map(|n| 16 * n), 1 => any::<u32>()];
    let next = prop_oneof![8 => 0..SIZE, 1 => any::<u16>()];
    (address, len, 0u16..8, next).prop_map(|(address, len, flags, next)| Written {
        address,
        len,
        flags,
        next,
    })
}

/// What a chain is according to the specification, written without looking at how the queue does
/// it.
fn model(tables: &[Vec<Written>; 2], head: u16) -> Option<(Vec<Buffer>, Vec<Buffer>)> {
    let (mut readable, mut writable) = (Vec::new(), Vec::new());
    let (mut in_table, mut index, mut count, mut total) = (None, head, 0u16, 0u64);
    loop {
        let written = match in_table {
            None => *tables[0].get(usize::from(index))?,
            Some((start, len)) if index < len => at(tables, start, index)?,
            Some(_) => return None,
        };
        if written.flags & INDIRECT != 0 {
            if in_table.is_some() || written.len % 16 != 0 {
                return None;
            }
            in_table = Some((written.address, u16::try_from(written.len / 16).ok()?));
            index = 0;
            continue;
        }
        count += 1;
        total += u64::from(written.len);
        if count > SIZE || total > u64::from(u32::MAX) {
            return None;
        }
        let buffer = Buffer {
            address: GuestAddress(written.address),
            len: written.len,
        };
        let end = written.address.checked_add(u64::from(written.len))?;
        if written.flags & WRITE == 0 && !writable.is_empty() {
            return None;
        }
        if written.len > 0 {
            if end > GuestRam::END {
                return None;
            }
            let side = if written.flags & WRITE == 0 {
                &mut readable
            } else {
                &mut writable
            };
            side.push(buffer);
        }
        if written.flags & NEXT == 0 {
            return Some((readable, writable));
        }
        index = written.next;
    }
}

/// The descriptor `index` places behind `start`, where the tests put descriptors or zeros.
fn at(tables: &[Vec<Written>; 2], start: u64, index: u16) -> Option<Written> {
    let address = start.checked_add(16 * u64::from(index))?;
    let zero = Written {
        address: 0,
        len: 0,
        flags: 0,
        next: 0,
    };
    let position = usize::try_from(address.checked_sub(TABLE)?).ok()?;
    if address.checked_add(16)? > GuestRam::END {
        return None;
    }
    assert!(
        position.is_multiple_of(16),
        "only aligned tables are modelled"
    );
    Some(tables[1].get(position / 16).copied().unwrap_or(zero))
}

fn aligned_tables(mut tables: [Vec<Written>; 2]) -> [Vec<Written>; 2] {
    for written in tables.iter_mut().flatten() {
        // The model knows what is in memory only at this table, so tables are nowhere else.
        if written.flags & INDIRECT != 0 && written.address < GuestRam::END {
            written.address = TABLE + (written.address & 0x70);
        }
    }
    tables
}

proptest! {
    #[test]
    fn a_chain_is_what_the_specification_says(
        direct in proptest::collection::vec(written(), usize::from(SIZE)),
        indirect in proptest::collection::vec(written(), usize::from(SIZE)),
        head in 0..SIZE,
    ) {
        let tables = aligned_tables([direct, indirect]);
        let (ram, mut ring, mut queue) = ring();
        for (start, table) in [(ring.layout.descriptors, &tables[0]), (TABLE, &tables[1])] {
            for (index, w) in (0..).zip(table) {
                ring.descriptor_at(start, index, w.address, w.len, w.flags, w.next);
            }
        }
        ring.make_available(head);
        let popped = pop(&ram, &mut queue);
        match model(&tables, head) {
            Some((readable, writable)) => {
                let chain = popped.unwrap().unwrap();
                prop_assert_eq!(chain.readable(), &readable[..]);
                prop_assert_eq!(chain.writable(), &writable[..]);
            }
            None => prop_assert!(popped.is_err(), "{:?}", popped),
        }
    }

    #[test]
    fn rings_full_of_rubbish_end_in_a_bounded_number_of_chains(
        rubbish in proptest::collection::vec(any::<u8>(), 16 * 8 + 6 + 16),
        small in any::<bool>(),
    ) {
        let (ram, ring, mut queue) = ring();
        let (descriptors, available) = rubbish.split_at(16 * usize::from(SIZE));
        ram.write(ring.layout.descriptors, descriptors);
        ram.write(ring.layout.available, available);
        if small {
            // Otherwise nearly every index is out of range at once.
            ram.write(ring.layout.available + 2, &[rubbish[0] % 9, 0]);
        }
        let mut chains = 0;
        while let Ok(Some(chain)) = pop(&ram, &mut queue) {
            chains += 1;
            for buffer in chain.buffers {
                prop_assert!(buffer.address.0 + u64::from(buffer.len) <= GuestRam::END);
            }
        }
        prop_assert!(chains <= SIZE);
    }

    #[test]
    fn what_an_honest_driver_adds_comes_back_in_any_order(
        steps in proptest::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..200),
    ) {
        let (ram, mut ring, mut queue) = ring();
        let mut free: Vec<u16> = (0..SIZE).collect();
        let mut held: Vec<Chain> = Vec::new();
        for (add, choice) in steps {
            if add && !free.is_empty() {
                let head = free.swap_remove(choice.index(free.len()));
                ring.descriptor(head, 0x1000, 8, WRITE, 0);
                ring.make_available(head);
                let chain = pop(&ram, &mut queue).unwrap().unwrap();
                prop_assert_eq!(chain.head, head);
                prop_assert!(held.iter().all(|other| other.head != head));
                held.push(chain);
            } else if !held.is_empty() {
                let chain = held.swap_remove(choice.index(held.len()));
                let head = chain.head;
                complete(&ram, &mut queue, chain, 5);
                prop_assert_eq!(ring.used(), Some((head, 5)));
                free.push(head);
            }
            prop_assert_eq!(pop(&ram, &mut queue), Ok(None));
        }
    }
}
