//! A clock that ticks once a second while somebody is waited for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::Timespec;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use vmm_devices::host_warn;

const SECOND: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
const NEVER: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// The clock. Readable when it has ticked since it was cleared.
#[derive(Debug)]
pub(super) struct Tick {
    timer: OwnedFd,
    running: bool,
}

impl Tick {
    /// A clock that stands still.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self {
            timer: timerfd_create(TimerfdClockId::Monotonic, flags)?,
            running: false,
        })
    }

    /// Lets it tick, if it does not.
    pub(super) fn start(&mut self) {
        if !self.running {
            self.set(SECOND);
            self.running = true;
        }
    }

    /// Makes it stand still.
    pub(super) fn stop(&mut self) {
        self.set(NEVER);
        self.running = false;
    }

    /// Forgets the ticks so far.
    pub(super) fn clear(&self) {
        // That there were none is no trouble.
        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
    }

    fn set(&self, every: Timespec) {
        let every = Itimerspec {
            it_interval: every,
            it_value: every,
        };
        if let Err(error) = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &every) {
            host_warn!(%error, "a timer can't be set");
        }
    }
}

impl AsFd for Tick {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}
