//! The vector table against drivers, and a model of when a vector may be raised.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::test_guest::RecordingVectors;

const COUNT: u16 = 3;
const ENABLE: u16 = CONTROL_ENABLE;
const MASK_ALL: u16 = CONTROL_FUNCTION_MASK;

fn msix() -> (Msix, Arc<RecordingVectors>) {
    let vectors = Arc::new(RecordingVectors::default());
    (
        Msix::new(COUNT, Arc::clone(&vectors) as Arc<dyn MsiVectors>),
        vectors,
    )
}

fn write(msix: &Msix, vector: u64, word: u64, value: u32) {
    msix.write_table(16 * vector + 4 * word, &value.to_le_bytes());
}

/// Puts a message into `vector` and unmasks it.
fn open(msix: &Msix, vector: u64) {
    write(msix, vector, 0, 0xfee0_1000);
    write(msix, vector, 2, 0x40);
    write(msix, vector, 3, 0);
}

fn pending(msix: &Msix) -> u8 {
    let mut byte = [0];
    msix.read_pending(0, &mut byte);
    byte[0]
}

#[test]
fn vectors_start_masked_and_nothing_is_routed_before_they_are_used() {
    let (msix, vectors) = msix();
    msix.set_control(ENABLE);
    assert!(vectors.routes().is_empty());
    let mut word = [0; 4];
    msix.read_table(12, &mut word);
    assert_eq!(word, [1, 0, 0, 0]);
    open(&msix, 1);
    assert_eq!(
        vectors.routes().into_iter().collect::<Vec<_>>(),
        [(
            1,
            MsiMessage {
                address: 0xfee0_1000,
                data: 0x40
            }
        )]
    );
}

#[test]
fn a_masked_vector_is_pending_until_it_is_unmasked() {
    let (msix, vectors) = msix();
    msix.set_control(ENABLE);
    msix.trigger(1).unwrap();
    assert_eq!(pending(&msix), 0b010);
    assert!(vectors.take_raised().is_empty());
    open(&msix, 1);
    assert_eq!(vectors.take_raised(), [1]);
    assert_eq!(pending(&msix), 0);
}

#[test]
fn an_event_raises_a_vector_until_that_is_masked_or_moved() {
    let (msix, vectors) = msix();
    let event = Arc::new(EventFd::new(0).unwrap());
    msix.bind(1, &event).unwrap();
    assert!(vectors.bound().is_empty(), "it is masked");
    msix.set_control(ENABLE);
    open(&msix, 1);
    msix.bind(1, &event).unwrap();
    assert_eq!(vectors.bound(), [1]);
    write(&msix, 1, 3, 1);
    assert!(vectors.bound().is_empty());
    open(&msix, 1);
    msix.bind(1, &event).unwrap();
    write(&msix, 1, 2, 0x41);
    assert!(vectors.bound().is_empty());
    msix.bind(1, &event).unwrap();
    msix.unbind(1).unwrap();
    assert!(vectors.bound().is_empty());
    assert_eq!(vectors.routes().len(), 1, "it can still be raised");
    msix.bind(COUNT, &event).unwrap();
}

#[test]
fn the_function_mask_holds_all_vectors_back() {
    let (msix, vectors) = msix();
    msix.set_control(ENABLE | MASK_ALL);
    open(&msix, 0);
    msix.trigger(0).unwrap();
    assert!(vectors.routes().is_empty());
    assert!(vectors.take_raised().is_empty());
    msix.set_control(ENABLE);
    assert_eq!(vectors.take_raised(), [0]);
    msix.set_control(0);
    assert!(vectors.routes().is_empty());
    msix.trigger(0).unwrap();
    assert_eq!(
        pending(&msix),
        0,
        "a disabled function has no vectors to hold back"
    );
}

#[test]
fn a_message_that_changes_is_routed_anew() {
    let (msix, vectors) = msix();
    msix.set_control(ENABLE);
    open(&msix, 2);
    write(&msix, 2, 2, 0x99);
    assert_eq!(vectors.routes()[&2].data, 0x99);
}

#[test]
fn odd_accesses_do_nothing() {
    let (msix, _) = msix();
    for (offset, len) in [(0u64, 1), (0, 2), (2, 4), (1, 8), (0, 3), (0, 16)] {
        msix.write_table(offset, &vec![0xff; len]);
    }
    let mut entry = [0; 8];
    msix.read_table(0, &mut entry);
    assert_eq!(entry, [0; 8]);
    let mut beyond = [0; 4];
    msix.read_table(16 * u64::from(COUNT), &mut beyond);
    assert_eq!(beyond, [0xff; 4]);
}

#[derive(Clone, Debug)]
enum Step {
    Control(u16),
    Table(u64, Vec<u8>),
    Trigger(u16),
    Read(u64, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let word = prop_oneof![Just(0u32), Just(1), any::<u32>()];
    prop_oneof![
        2 => (0u16..4).prop_map(|bits| Step::Control(bits << 14)),
        4 => (0u64..16, word).prop_map(|(n, w)| Step::Table(4 * n, w.to_le_bytes().to_vec())),
        1 => (any::<u64>(), proptest::collection::vec(any::<u8>(), 0..9))
            .prop_map(|(o, d)| Step::Table(o, d)),
        4 => (0..COUNT + 2).prop_map(Step::Trigger),
        1 => (any::<u64>(), 0usize..9).prop_map(|(o, l)| Step::Read(o, l)),
    ]
}

proptest! {
    #[test]
    fn vectors_are_raised_at_once_or_when_they_open_and_never_twice(
        steps in proptest::collection::vec(step(), 1..100),
    ) {
        let (msix, vectors) = msix();
        let (mut control, mut masked) = (0, [true; COUNT as usize]);
        let mut waiting = BTreeSet::new();
        for step in steps {
            let mut raised = Vec::new();
            match step {
                Step::Control(bits) => {
                    control = bits;
                    msix.set_control(bits);
                }
                Step::Table(offset, data) => {
                    msix.write_table(offset, &data);
                    let (vector, word) = (offset / 16, offset % 16);
                    if data.len() == 4 && word == 12 && vector < u64::from(COUNT) {
                        masked[usize::try_from(vector).unwrap()] = data[0] & 1 != 0;
                    } else if data.len() == 8 && word == 8 && vector < u64::from(COUNT) {
                        masked[usize::try_from(vector).unwrap()] = data[4] & 1 != 0;
                    }
                }
                Step::Trigger(vector) => {
                    msix.trigger(vector).unwrap();
                    if vector < COUNT && control & ENABLE != 0 {
                        waiting.insert(vector);
                    }
                }
                Step::Read(offset, len) => {
                    msix.read_table(offset, &mut vec![0; len]);
                    msix.read_pending(offset, &mut vec![0; len]);
                }
            }
            for vector in 0..COUNT {
                let open = control == ENABLE && !masked[usize::from(vector)];
                prop_assert_eq!(vectors.routes().contains_key(&vector), open);
                if open && waiting.remove(&vector) {
                    raised.push(vector);
                }
            }
            prop_assert_eq!(vectors.take_raised(), raised);
            let bits = waiting.iter().fold(0, |bits, vector| bits | 1 << vector);
            prop_assert_eq!(pending(&msix), bits);
        }
    }
}
