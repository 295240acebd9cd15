//! The end of a sandbox: whether it was asked for, and who waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use tokio::sync::watch;

use crate::SandboxExit;

/// The end of a sandbox, which may be still to come.
#[derive(Debug)]
pub(crate) struct Ending {
    asked: AtomicBool,
    exit: watch::Sender<Option<SandboxExit>>,
}

impl Default for Ending {
    fn default() -> Self {
        Self {
            asked: AtomicBool::new(false),
            exit: watch::Sender::new(None),
        }
    }
}

impl Ending {
    /// From now on its end is what was wanted.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Somebody wanted its end.
    pub(crate) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// It has come.
    pub(crate) fn come(&self, message: String) {
        self.exit.send_replace(Some(SandboxExit {
            asked: self.was_asked(),
            message,
            at: SystemTime::now(),
        }));
    }

    /// The end, if it has come.
    pub(crate) fn now(&self) -> Option<SandboxExit> {
        self.exit.borrow().clone()
    }

    /// Resolves when it has come.
    pub(crate) async fn wait(&self) -> SandboxExit {
        let mut exit = self.exit.subscribe();
        let come = exit.wait_for(Option::is_some).await;
        come.ok()
            .and_then(|exit| exit.clone())
            .expect("the sender is in self and lives")
    }
}
