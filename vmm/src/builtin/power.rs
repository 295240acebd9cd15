//! The registers by which a guest turns its machine off or resets it, and who is told.

use std::sync::Arc;

use vmm_api::event::Stop;
use vmm_devices::MmioDevice;

use super::layout::{RESET_PORT, RESET_VALUE, SLEEP_PORT, SLEEP_TYPE_OFF};
use crate::milestone::{Ended, Milestone};

/// Ports of the sleep control, sleep status and reset registers (ACPI 6.5 §4.8.3.7, §4.8.3.6).
pub(super) const PORTS: u64 = 3;

const SLEEP_CONTROL: u64 = 0;
const RESET: u64 = (RESET_PORT - SLEEP_PORT) as u64;
const SLEEP_ENABLE: u8 = 1 << 5;

/// Code for the reset vector, in real mode, that writes to the reset register.
///
/// Linux with hardware-reduced ACPI and without EFI restarts through the firmware unless it is told
/// otherwise, and would run zeros for ever where there is none.
pub(super) const RESET_CODE: [u8; 9] = {
    let [low, high] = RESET_PORT.to_le_bytes();
    // mov dx, RESET_PORT; mov al, RESET_VALUE; out dx, al; hlt; jmp to the hlt
    [0xba, low, high, 0xb0, RESET_VALUE, 0xee, 0xf4, 0xeb, 0xfd]
};

/// The registers.
pub(super) struct Power {
    end: Arc<Milestone<Ended>>,
}

impl Power {
    /// Registers that end the machine with `end`.
    pub(super) fn new(end: Arc<Milestone<Ended>>) -> Self {
        Self { end }
    }
}

impl MmioDevice for Power {
    fn read(&mut self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        const SOFT_OFF: u8 = SLEEP_TYPE_OFF << 2 | SLEEP_ENABLE;
        match (offset, data) {
            (SLEEP_CONTROL, [SOFT_OFF]) => {
                self.end.end(Stop::PowerOff, "the guest powered off");
            }
            (RESET, [RESET_VALUE]) => {
                self.end.end(
                    Stop::Reset,
                    "the guest reset its machine, as a panicked kernel does; its console may tell why",
                );
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(offset: u64, data: &[u8], expected: Option<Stop>) {
        let end = Arc::new(Milestone::new().unwrap());
        Power::new(Arc::clone(&end)).write(offset, data);
        assert_eq!(end.get().map(|ended| ended.how), expected);
    }

    #[test]
    fn the_guest_turns_itself_off_and_resets_itself() {
        check(0, &[0x34], Some(Stop::PowerOff));
        check(2, &[1], Some(Stop::Reset));
    }

    #[test]
    fn other_writes_are_nothing() {
        check(0, &[0x14], None);
        check(0, &[0x2c], None);
        check(1, &[0x34], None);
        check(2, &[0], None);
        check(0, &[0x34, 0, 0, 0], None);
    }
}
