//! Notices when the kernel kills processes of a container for want of memory.
//!
//! The process that is killed need not be the container's first, so its exit status does not tell; the
//! cgroup's counter does.

use std::convert::Infallible;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::container::cgroup::{Cgroup, keyed};
use crate::sys::readiness::watch;

/// The counter as it was when the container was made, or when we last told.
#[derive(Debug)]
pub(crate) struct Baseline {
    start: u64,
    told: u64,
}

impl Baseline {
    /// Of a cgroup whose processes have not run yet.
    pub(crate) fn of(cgroup: &Cgroup) -> Self {
        let start = cgroup.oom_kills();
        Self { start, told: start }
    }

    /// Whether anything was killed since. Asked again at the end: the kernel counts before it kills.
    pub(crate) fn grown(&self, cgroup: &Cgroup) -> bool {
        cgroup.oom_kills() > self.start
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
            if kills > self.told {
                self.told = kills;
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
