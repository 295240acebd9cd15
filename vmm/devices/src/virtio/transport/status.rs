//! The device status a driver walks through (virtio 1.2 §2.1, §3.1.1).
//!
//! ```text
//! Reset → Acknowledged → Driver → FeaturesOk → DriverOk
//!   ↑______________________|__________|___________|  (a write of 0, from anywhere)
//!   by way of Resetting
//! ```
//!
//! What a driver may set up depends on it: features in `Driver`, queues in `FeaturesOk`, nothing
//! after.

const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
/// Set by the device; a driver that adds a bit writes it back.
pub const NEEDS_RESET: u8 = 64;
const FAILED: u8 = 128;

/// How far a driver has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceStatus {
    /// Nothing happened yet.
    Reset,
    /// The driver wants to start again, and waits until the device has put down what it had begun (virtio 1.2
    /// §4.1.4.3.2): until the register reads 0.
    Resetting,
    /// The guest has noticed the device.
    Acknowledged,
    /// It has a driver for it, which chooses features.
    Driver,
    /// Features are agreed on; queues are set up.
    FeaturesOk,
    /// The device works.
    DriverOk,
    /// The driver gave up.
    Failed,
}

/// A status that may not follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied;

impl DeviceStatus {
    /// The status register.
    pub fn bits(self) -> u8 {
        match self {
            Self::Reset => 0,
            Self::Resetting => NEEDS_RESET,
            Self::Acknowledged => ACKNOWLEDGE,
            Self::Driver => ACKNOWLEDGE | DRIVER,
            Self::FeaturesOk => ACKNOWLEDGE | DRIVER | FEATURES_OK,
            Self::DriverOk => ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK,
            Self::Failed => FAILED,
        }
    }

    /// The status after the driver wrote `bits`, or that it may not.
    pub fn apply(self, bits: u8) -> Result<Self, Denied> {
        use DeviceStatus as S;
        let bits = bits & !NEEDS_RESET;
        if bits == 0 && self == S::Resetting {
            return Ok(self);
        }
        if bits == 0 {
            return Ok(S::Reset);
        }
        if bits == self.bits() {
            return Ok(self);
        }
        if bits & FAILED != 0 && self != S::Resetting {
            return Ok(S::Failed);
        }
        let next = match self {
            S::Reset => S::Acknowledged,
            S::Acknowledged => S::Driver,
            S::Driver => S::FeaturesOk,
            S::FeaturesOk => S::DriverOk,
            S::Resetting | S::DriverOk | S::Failed => return Err(Denied),
        };
        if bits == next.bits() {
            Ok(next)
        } else {
            Err(Denied)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(from: DeviceStatus, bits: u8, to: Option<DeviceStatus>) {
        assert_eq!(from.apply(bits).ok(), to);
    }

    #[test]
    fn a_driver_walks_one_step_at_a_time() {
        use DeviceStatus as S;
        check(S::Reset, 1, Some(S::Acknowledged));
        check(S::Acknowledged, 3, Some(S::Driver));
        check(S::Driver, 11, Some(S::FeaturesOk));
        check(S::FeaturesOk, 15, Some(S::DriverOk));
        check(S::Reset, 3, None);
        check(S::Driver, 15, None);
        check(S::Driver, 7, None);
        check(S::Driver, 1, None);
    }

    #[test]
    fn a_driver_may_repeat_itself_give_up_and_start_again() {
        use DeviceStatus as S;
        for status in [S::Acknowledged, S::Driver, S::FeaturesOk, S::DriverOk] {
            check(status, status.bits(), Some(status));
            check(status, status.bits() | NEEDS_RESET, Some(status));
            check(status, status.bits() | 128, Some(S::Failed));
            check(status, 0, Some(S::Reset));
        }
        check(S::Failed, 15, None);
        check(S::Failed, 0, Some(S::Reset));
    }

    #[test]
    fn a_driver_waits_for_a_reset() {
        for bits in [1, 15, 128] {
            check(DeviceStatus::Resetting, bits, None);
        }
        check(DeviceStatus::Resetting, 0, Some(DeviceStatus::Resetting));
        assert_ne!(DeviceStatus::Resetting.bits(), 0);
    }

    proptest! {
        #[test]
        fn nobody_is_ready_without_having_taken_every_step(
            writes in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(1), Just(3), Just(11), Just(15)], 0..40,
            ),
        ) {
            let (mut status, mut steps) = (DeviceStatus::Reset, 0);
            for bits in writes {
                let Ok(next) = status.apply(bits) else { continue };
                if next == DeviceStatus::Reset || next == DeviceStatus::Failed {
                    steps = 0;
                } else if next != status {
                    steps += 1;
                }
                status = next;
                prop_assert_eq!(status == DeviceStatus::DriverOk, steps == 4);
            }
        }
    }
}
