//! Notices when the kernel kills processes of a container for want of memory.
//!
//! The process that is killed need not be the container's first, so its exit status does not tell; the
//! cgroup's counter does. It counts an exec'd process that was killed an hour ago, too, so a kill is the reason
//! of an end only if it came shortly before.

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::container::cgroup::{Cgroup, keyed};
use crate::sys::readiness::watch;

/// A container that ends so soon after a kill ends because of it. What is killed may have much memory to give
/// back first, and who is left without it may try to go on.
const SOON: Duration = Duration::from_secs(10);

/// The kills of a container, as far as they were counted.
#[derive(Debug)]
pub(crate) struct Kills {
    counted: u64,
    last: Option<Instant>,
}

impl Kills {
    /// Of a cgroup whose processes have not run yet.
    pub(crate) fn of(cgroup: &Cgroup) -> Self {
        Self {
            counted: cgroup.oom_kills(),
            last: None,
        }
    }

    /// Whether one is the reason for the end that came just now. The kernel counts before it kills.
    pub(crate) fn end(&mut self, cgroup: &Cgroup) -> bool {
        self.count(cgroup.oom_kills());
        self.were_just_now()
    }

    fn were_just_now(&self) -> bool {
        self.last.is_some_and(|last| last.elapsed() <= SOON)
    }

    /// Takes the counter's value; tells whether there were more.
    fn count(&mut self, kills: u64) -> bool {
        let more = kills > self.counted;
        if more {
            self.counted = kills;
            self.last = Some(Instant::now());
        }
        more
    }

    /// Tells of kills as they happen, until it is dropped.
    pub(crate) async fn watch(&mut self, cgroup: &Cgroup, tell: impl Fn(u64)) -> Infallible {
        // Without the memory controller there are no kills to be told of.
        if let Ok(file) = cgroup.open("memory.events")
            && let Ok(file) = watch(file.into(), Interest::PRIORITY)
        {
            self.follow(file, tell).await;
        }
        std::future::pending().await
    }

    async fn follow(&mut self, file: AsyncFd<OwnedFd>, tell: impl Fn(u64)) {
        loop {
            // Reading arms the notification, so it comes first.
            let Some(kills) = read(file.get_ref()) else {
                return;
            };
            if self.count(kills) {
                tell(kills);
            }
            match file.ready(Interest::PRIORITY).await {
                Ok(mut ready) => ready.clear_ready(),
                Err(_) => return,
            }
        }
    }
}

/// The counter; `None` once the cgroup is gone.
fn read(file: &OwnedFd) -> Option<u64> {
    let mut text = [0; 1024];
    let length = rustix::io::pread(file, &mut text[..], 0).ok()?;
    keyed(str::from_utf8(&text[..length]).ok()?, "oom_kill")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn an_old_kill_is_not_the_reason_of_an_end() {
        let mut kills = Kills {
            counted: 2,
            last: None,
        };
        assert!(!kills.count(2) && !kills.were_just_now(), "before it ran");
        assert!(kills.count(3) && kills.were_just_now());
        assert!(!kills.count(3), "told once");
        tokio::time::advance(SOON + Duration::from_secs(1)).await;
        assert!(!kills.count(3) && !kills.were_just_now());
    }
}
