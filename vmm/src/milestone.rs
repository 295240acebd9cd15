//! Something that happens once in a machine's life, and wakes who waits for it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use vmm_api::event::Stop;
use vmm_devices::host_warn;

/// What happened, once it has. The first to tell is believed.
#[derive(Debug)]
pub struct Milestone<T> {
    value: OnceLock<T>,
    event: OwnedFd,
}

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// For programs.
    pub how: Stop,
    /// For people.
    pub why: String,
}

impl<T> Milestone<T> {
    /// It has not happened yet.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            value: OnceLock::new(),
            event,
        })
    }

    /// Tells that it happened. Only the first telling counts.
    pub fn reach(&self, value: T) {
        if self.value.set(value).is_ok()
            && let Err(error) = rustix::io::write(&self.event, &1u64.to_ne_bytes())
        {
            host_warn!(%error, "nobody can be woken");
        }
    }

    /// What happened, if it has.
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// Whether it has happened.
    pub fn is_reached(&self) -> bool {
        self.value.get().is_some()
    }
}

impl Milestone<Ended> {
    /// Tells that the machine ended.
    pub fn end(&self, how: Stop, why: impl Into<String>) {
        self.reach(Ended {
            how,
            why: why.into(),
        });
    }
}

impl<T> AsFd for Milestone<T> {
    /// Readable from the moment it happened.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_loop::{EventLoop, Interest};

    #[test]
    fn the_first_to_tell_is_believed_and_waiters_wake() {
        let end = Milestone::new().unwrap();
        let events = EventLoop::new().unwrap();
        events.add(&end, 1, Interest::READ).unwrap();
        assert_eq!(events.poll().unwrap(), []);
        end.end(Stop::PowerOff, "the guest powered off");
        end.end(Stop::Killed, "we were asked to");
        assert_eq!(events.wait(None).unwrap().len(), 1);
        assert_eq!(end.get().unwrap().how, Stop::PowerOff);
    }
}
