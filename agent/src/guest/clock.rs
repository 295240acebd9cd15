//! The guest's clock, which starts at nothing: the machine has no battery.

use rustix::time::{ClockId, Timespec, clock_settime};

use super::GuestError;

const NS_PER_S: u64 = 1_000_000_000;

/// Sets the clock to so many nanoseconds after 1970; 0 leaves it alone.
pub(crate) fn set(time_ns: u64) -> Result<(), GuestError> {
    if time_ns == 0 {
        return Ok(());
    }
    let time = Timespec {
        tv_sec: i64::try_from(time_ns / NS_PER_S).expect("fits for 292 years"),
        tv_nsec: i64::try_from(time_ns % NS_PER_S).expect("below 10^9"),
    };
    clock_settime(ClockId::Realtime, time).map_err(|source| GuestError::System {
        doing: "set the clock",
        source,
    })
}
