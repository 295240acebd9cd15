//! Waits for every process that ends as our child, and tells whoever asked how it ended.
//!
//! Our children are stage-1 processes, first and exec'd processes of containers (stage-1 gives them to
//! us), and orphans of the host's PID namespace. All are reaped in one place. A process is known by its
//! pidfd before it is watched: its number alone might already be another's.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus, pidfd_open, wait};
use tokio::io::Interest;
use tokio::sync::oneshot;

use crate::sys::readiness::watch;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// 0 to 255; 128 + signal where a signal ended it.
    pub(crate) code: u32,
    /// 0 where no signal ended it.
    pub(crate) signal: u32,
}

impl Ended {
    /// For a process whose end nobody saw.
    pub(crate) const UNKNOWN: Self = Self {
        code: 255,
        signal: 0,
    };
}

impl From<WaitStatus> for Ended {
    fn from(status: WaitStatus) -> Self {
        let number = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok());
        match number(status.terminating_signal()) {
            Some(signal) => Self {
                code: 128 + signal,
                signal,
            },
            None => Self {
                code: number(status.exit_status()).unwrap_or(255),
                signal: 0,
            },
        }
    }
}

/// Reaps all our children.
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    inner: Mutex<Inner>,
    /// Held while a child is reaped, and while one is made that nobody could name any more by then.
    reaping: Mutex<()>,
}

#[derive(Debug, Default)]
struct Inner {
    watched: HashMap<Pid, oneshot::Sender<Ended>>,
    /// Children that ended while somebody may be about to watch them.
    unclaimed: HashMap<Pid, Ended>,
    holds: usize,
}

/// While it lives, the ends of processes that nobody watches yet are remembered.
#[derive(Debug)]
pub(crate) struct Hold(Arc<Reaper>);

impl Drop for Hold {
    fn drop(&mut self) {
        let mut inner = self.0.inner.lock();
        inner.holds -= 1;
        if inner.holds == 0 {
            inner.unclaimed.clear();
        }
    }
}

impl Reaper {
    /// Remembers ends from now on, for a process that is about to be made.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        self.inner.lock().holds += 1;
        Hold(Arc::clone(self))
    }

    /// Starts a program and returns its pidfd. Nobody but us waits for it.
    pub(crate) fn spawn(&self, command: &mut Command) -> std::io::Result<OwnedFd> {
        let _not_reaped_before_it_is_known = self.reaping.lock();
        let child = command.spawn()?;
        Ok(pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?)
    }

    /// Tells how the child with this number ends, or has ended since `_hold` was taken.
    pub(crate) fn watch(
        &self,
        _hold: &Hold,
        pid: Pid,
        pidfd: &OwnedFd,
    ) -> oneshot::Receiver<Ended> {
        let (sender, receiver) = oneshot::channel();
        let mut inner = self.inner.lock();
        match inner.unclaimed.remove(&pid) {
            Some(ended) if has_ended(pidfd) => drop(sender.send(ended)),
            // What ended under this number was another process before it.
            _ => drop(inner.watched.insert(pid, sender)),
        }
        receiver
    }

    /// Reaps for ever. `sigchld` is readable when a child has ended.
    pub(crate) async fn run(&self, sigchld: OwnedFd) -> std::io::Result<()> {
        let sigchld = watch(sigchld, Interest::READABLE)?;
        loop {
            self.sweep();
            let mut ready = sigchld.readable().await?;
            let mut record = [0; 128];
            if rustix::io::read(sigchld.get_ref(), &mut record[..]).is_err() {
                ready.clear_ready();
            }
        }
    }

    fn sweep(&self) {
        while let Some((pid, status)) = self.reap() {
            self.ended(pid, status.into());
        }
    }

    fn reap(&self) -> Option<(Pid, WaitStatus)> {
        let _none_is_being_made = self.reaping.lock();
        wait(WaitOptions::NOHANG).ok().flatten()
    }

    fn ended(&self, pid: Pid, ended: Ended) {
        let mut inner = self.inner.lock();
        if let Some(watcher) = inner.watched.remove(&pid) {
            // A watcher that is gone does not want to know.
            let _ = watcher.send(ended);
        } else if inner.holds > 0 {
            inner.unclaimed.insert(pid, ended);
        }
    }
}

/// A pidfd is readable once its process has ended.
fn has_ended(pidfd: &OwnedFd) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready == 1)
}

#[cfg(test)]
mod tests {
    use std::process::Child;

    use super::*;

    fn spawn(program: &str) -> (Child, Pid, OwnedFd) {
        let child = Command::new(program).arg("60").spawn().unwrap();
        let pid = Pid::from_child(&child);
        (child, pid, pidfd_open(pid, PidfdFlags::empty()).unwrap())
    }

    const ENDED: Ended = Ended {
        code: 137,
        signal: 9,
    };

    #[test]
    fn an_end_that_comes_before_the_watch_is_not_lost() {
        let reaper = Arc::new(Reaper::default());
        let hold = reaper.hold();
        let (mut child, pid, pidfd) = spawn("true");
        child.wait().unwrap();
        reaper.ended(pid, ENDED);
        assert_eq!(reaper.watch(&hold, pid, &pidfd).try_recv(), Ok(ENDED));
    }

    #[test]
    fn the_end_of_an_earlier_process_of_the_same_number_is_not_taken() {
        let reaper = Arc::new(Reaper::default());
        let hold = reaper.hold();
        let (mut child, pid, pidfd) = spawn("sleep");
        reaper.ended(pid, ENDED);
        let mut watch = reaper.watch(&hold, pid, &pidfd);
        assert!(watch.try_recv().is_err());
        let again = Ended { code: 0, signal: 0 };
        reaper.ended(pid, again);
        assert_eq!(watch.try_recv(), Ok(again));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn orphans_are_forgotten() {
        let reaper = Arc::new(Reaper::default());
        let hold = reaper.hold();
        reaper.ended(Pid::INIT, ENDED);
        drop(hold);
        assert!(reaper.inner.lock().unclaimed.is_empty());
        reaper.ended(Pid::INIT, ENDED);
        assert!(reaper.inner.lock().unclaimed.is_empty());
    }
}
