//! The bus as guests, good and bad, use it; plugging and pulling.

use proptest::prelude::*;

use super::*;
use crate::test_guest::{ECAM, PciDriver, TestMachine, WINDOW};
use crate::virtio::Rng;

const BAR_SIZE: u64 = 0x8000;

fn id(machine: &TestMachine, slot: u8) -> u64 {
    machine.read(ECAM + (u64::from(slot) << 15), 4)
}

#[test]
fn there_is_a_host_bridge_and_nothing_else() {
    let machine = TestMachine::new();
    assert_eq!(id(&machine, 0), 0x0008_1b36);
    for slot in 1..SLOTS {
        assert_eq!(id(&machine, slot), 0xffff_ffff);
    }
    // Other functions, other buses.
    assert_eq!(machine.read(ECAM + 0x1000, 4), 0xffff_ffff);
    assert_eq!(machine.read(ECAM + (1 << 20), 4), 0xffff_ffff);
}

#[test]
fn the_bridge_can_not_be_pulled_out() {
    let machine = TestMachine::new();
    assert!(!machine.root.unplug(0));
    assert!(!machine.root.unplug(1));
    assert!(!machine.root.unplug(SLOTS));
    assert_eq!(id(&machine, 0), 0x0008_1b36);
}

#[test]
fn devices_fill_the_slots_in_order_and_free_ones_are_used_again() {
    let machine = TestMachine::new();
    let plugged: Vec<_> = (1..SLOTS).map(|_| machine.plug(Rng::new())).collect();
    let slots: Vec<_> = plugged.iter().map(|p| p.slot).collect();
    assert_eq!(slots, (1..SLOTS).collect::<Vec<_>>());
    let mut bars: Vec<_> = slots
        .iter()
        .map(|s| PciDriver::probe(&machine, *s).bar())
        .collect();
    bars.dedup_by(|a, b| a.abs_diff(*b) < BAR_SIZE);
    assert_eq!(bars.len(), slots.len());

    let one_more = crate::pci::host_bridge::HostBridge::new();
    assert_eq!(machine.root.plug(one_more), Err(PlugError::NoSlot));
    assert!(machine.root.unplug(7));
    assert_eq!(machine.plug(Rng::new()).slot, 7);
}

#[test]
fn without_room_in_the_window_nothing_is_plugged_in() {
    struct Huge(ConfigSpace);
    impl PciFunction for Huge {
        fn config(&mut self) -> &mut ConfigSpace {
            &mut self.0
        }
        fn read_bar(&mut self, _offset: u64, _data: &mut [u8]) {}
        fn write_bar(&mut self, _offset: u64, _data: &[u8]) {}
        fn bar_moved(&mut self, _address: Option<u64>) {}
        fn unplugged(&mut self) {}
    }
    let machine = TestMachine::new();
    let identity = crate::pci::Identity {
        vendor: 1,
        device: 1,
        revision: 0,
        class: 0,
        subsystem_vendor: 0,
        subsystem: 0,
    };
    let size = 0x100_0000;
    let huge = Huge(ConfigSpace::new(&identity, Some(size)));
    assert_eq!(machine.root.plug(huge), Err(PlugError::NoAddress { size }));
    assert_eq!(id(&machine, 1), 0xffff_ffff);
}

/// A device, its driver, and whether its BAR answers at an address: its status register then reads
/// 0.
fn answers(machine: &TestMachine, bar: u64) -> bool {
    machine.read(bar + 20, 1) == 0
}

#[test]
fn a_bar_answers_only_while_memory_decoding_is_on() {
    let machine = TestMachine::new();
    let slot = machine.plug(Rng::new()).slot;
    let bar = machine.read(ECAM + (u64::from(slot) << 15) + 0x10, 4);
    assert!(!answers(&machine, bar));
    let driver = PciDriver::probe(&machine, slot);
    assert!(answers(&machine, bar));
    driver.write_config(0x04, 2, 0);
    assert!(!answers(&machine, bar));
}

#[test]
fn a_bar_that_is_sized_while_it_is_decoded_comes_back() {
    let machine = TestMachine::new();
    let plugged = machine.plug(Rng::new());
    let driver = PciDriver::probe(&machine, plugged.slot);
    let bar = driver.bar();
    driver.write_config(0x10, 4, 0xffff_ffff);
    assert_eq!(driver.bar(), 0xffff_8000);
    assert!(!answers(&machine, bar));
    driver.write_config(0x10, 4, bar);
    assert!(answers(&machine, bar));
}

#[test]
fn a_bar_moves_inside_the_window_and_answers_nowhere_outside() {
    let machine = TestMachine::new();
    let plugged = machine.plug(Rng::new());
    let driver = PciDriver::probe(&machine, plugged.slot);
    let old = driver.bar();
    let last = u64::from(WINDOW.end) - BAR_SIZE;
    driver.write_config(0x10, 4, last);
    assert!(answers(&machine, last));
    assert!(!answers(&machine, old));
    for outside in [0, 0x10_0000, last + BAR_SIZE, 0xfee0_0000] {
        driver.write_config(0x10, 4, outside);
        assert!(!answers(&machine, outside), "{outside:#x}");
        assert!(!answers(&machine, last));
    }
    driver.write_config(0x10, 4, ECAM);
    assert_eq!(
        id(&machine, 0),
        0x0008_1b36,
        "configuration space is not shadowed"
    );
}

#[test]
fn of_two_bars_at_one_address_the_first_stays_and_the_second_can_leave() {
    let machine = TestMachine::new();
    let (one, two) = (machine.plug(Rng::new()), machine.plug(Rng::new()));
    let first = PciDriver::probe(&machine, one.slot);
    let second = PciDriver::probe(&machine, two.slot);
    first.set_status(1);
    let elsewhere = second.bar();
    second.write_config(0x10, 4, first.bar());
    assert_eq!(first.status(), 1);
    assert!(!answers(&machine, elsewhere));
    second.write_config(0x10, 4, elsewhere);
    assert!(answers(&machine, elsewhere));
    assert_eq!(first.status(), 1);
}

#[test]
fn a_machine_that_is_dropped_drops_its_devices() {
    let machine = TestMachine::new();
    let root = Arc::downgrade(&machine.root);
    let vectors = Arc::downgrade(&machine.plug(Rng::new()).vectors);
    PciDriver::probe(&machine, 1);
    drop(machine);
    assert!(root.upgrade().is_none());
    assert!(vectors.upgrade().is_none());
}

#[derive(Clone, Debug)]
enum Step {
    Plug,
    Unplug(u8),
    Write(u8, u16, usize, u32),
    Read(u64, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop::sample::select(vec![1usize, 2, 4]);
    let register = prop_oneof![2 => Just(0x04u16), 4 => Just(0x10), 1 => 0u16..0x1000];
    let value = prop_oneof![
        2 => (0u32..0x20).prop_map(|n| WINDOW.start + 0x4000 * n),
        1 => Just(0x0406u32),
        1 => Just(WINDOW.end - 0x8000),
        1 => any::<u32>(),
    ];
    prop_oneof![
        1 => Just(Step::Plug),
        1 => (0u8..6).prop_map(Step::Unplug),
        10 => (0u8..6, register, len.clone(), value)
            .prop_map(|(s, r, l, v)| Step::Write(s, r, l, v)),
        2 => (0u64..0x20_0000, len).prop_map(|(o, l)| Step::Read(o, l)),
    ]
}

/// What answers in the window is exactly what the functions say: each where its BAR is, if it is
/// enabled and inside.
fn check_windows(machine: &TestMachine) -> Result<(), TestCaseError> {
    let slots = machine.root.slots.lock();
    let mut mapped = Vec::new();
    for slot in slots.iter().flatten() {
        let wanted = machine.root.wanted(&slot.function);
        if let Some(at) = slot.mapped {
            prop_assert_eq!(Some(at), wanted.map(|w| w.start));
            mapped.push(at);
        }
    }
    mapped.sort_unstable();
    for pair in mapped.windows(2) {
        prop_assert!(pair[0] + BAR_SIZE <= pair[1]);
    }
    drop(slots);
    for at in mapped {
        prop_assert!(at >= u64::from(WINDOW.start) && at + BAR_SIZE <= u64::from(WINDOW.end));
        prop_assert!(machine.bus.read(at, &mut [0]));
        prop_assert!(machine.binder.addresses().contains(&(at + 0x3000)));
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_sequence_of_plugs_and_configuration_accesses_confuses_the_bus(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let machine = TestMachine::new();
        for step in steps {
            match step {
                Step::Plug => {
                    if machine.root.slots.lock()[5].is_none() {
                        machine.plug(Rng::new());
                    }
                }
                Step::Unplug(slot) => drop(machine.root.unplug(slot)),
                Step::Write(slot, register, len, value) => {
                    let at = ECAM + (u64::from(slot) << 15) + u64::from(register);
                    machine.write(at, len, value.into());
                }
                Step::Read(offset, len) => drop(machine.read(ECAM + offset, len)),
            }
            check_windows(&machine)?;
        }
        let slots = machine.root.slots.lock();
        let mapped = slots.iter().flatten().filter(|s| s.mapped.is_some()).count();
        prop_assert_eq!(machine.binder.addresses().len(), mapped);
    }
}
