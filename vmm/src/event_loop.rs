//! Waiting for descriptors: a thin cover over epoll. Each thread's loop is a `match` over its tokens.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

/// Descriptors told of in one go. What does not fit is told of next time.
const BATCH: usize = 32;

/// What to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interest {
    /// Something to read.
    pub read: bool,
    /// Room to write.
    pub write: bool,
}

impl Interest {
    /// Waits for something to read.
    pub(crate) const READ: Self = Self {
        read: true,
        write: false,
    };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.read);
        flags.set(EventFlags::OUT, self.write);
        flags
    }
}

/// A descriptor that became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    /// What it was added as.
    pub token: u64,
    /// There is something to read, or its end.
    pub read: bool,
    /// There is room to write.
    pub write: bool,
    /// The other side is gone, in both directions. Told of whether asked for or not.
    pub hangup: bool,
}

/// A set of descriptors to wait for. Level-triggered: what is not dealt with is told of again.
///
/// It may itself be waited for through its own descriptor.
#[derive(Debug)]
pub(crate) struct EventLoop {
    epoll: OwnedFd,
}

impl EventLoop {
    /// An empty set.
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll })
    }

    /// Waits for `fd`, too, and calls it `token`.
    pub(crate) fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            fd,
            EventData::new_u64(token),
            interest.flags(),
        )?)
    }

    /// Waits for something else of `fd`.
    pub(crate) fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(
            &self.epoll,
            fd,
            EventData::new_u64(token),
            interest.flags(),
        )?)
    }

    /// Waits for `fd` no more. One that was not waited for is no error.
    pub(crate) fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        match epoll::delete(&self.epoll, fd) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until something is ready, or for `timeout`.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<Ready>> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        self.collect(timeout)
    }

    /// What is ready now, perhaps nothing.
    pub(crate) fn poll(&self) -> io::Result<Vec<Ready>> {
        self.collect(Some(Timespec::default()))
    }

    fn collect(&self, timeout: Option<Timespec>) -> io::Result<Vec<Ready>> {
        let mut events = Vec::with_capacity(BATCH);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(events.iter().map(ready).collect())
    }
}

impl AsFd for EventLoop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

fn ready(event: &epoll::Event) -> Ready {
    let flags = event.flags;
    let hangup = flags.intersects(EventFlags::HUP | EventFlags::ERR);
    Ready {
        token: event.data.u64(),
        read: hangup || flags.contains(EventFlags::IN),
        write: flags.contains(EventFlags::OUT),
        hangup,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_ready_is_told_by_its_token() {
        let events = EventLoop::new().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        events.add(&ours, 7, Interest::READ).unwrap();
        assert_eq!(events.poll().unwrap(), []);
        theirs.write_all(b"x").unwrap();
        let ready = events.wait(None).unwrap();
        assert_eq!(ready.len(), 1);
        assert!(ready[0].token == 7 && ready[0].read && !ready[0].write && !ready[0].hangup);
    }

    #[test]
    fn a_gone_peer_is_told_of_unasked() {
        let events = EventLoop::new().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        events.add(&ours, 1, Interest::default()).unwrap();
        drop(theirs);
        assert!(events.wait(None).unwrap()[0].hangup);
        events.remove(&ours).unwrap();
        events.remove(&ours).unwrap();
        assert_eq!(events.poll().unwrap(), []);
    }

    #[test]
    fn a_set_can_be_waited_for_itself() {
        let (inner, outer) = (EventLoop::new().unwrap(), EventLoop::new().unwrap());
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        inner.add(&ours, 1, Interest::READ).unwrap();
        outer.add(&inner, 2, Interest::READ).unwrap();
        theirs.write_all(b"x").unwrap();
        assert_eq!(outer.wait(None).unwrap()[0].token, 2);
    }
}
