//! The life of one container, as far as the server knows it.
//!
//! ```text
//! Created ── started ──▶ Running ── ended ──▶ Exited
//!    └──────────────── ended ─────────────────▲
//! ```

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::SystemTime;

use agent_api::v1;
use tokio::sync::watch;

use super::{Pids, last_words, told_time};
use crate::{ContainerExit, ContainerStatus, RunState};

/// The life of one container. Whoever waits for its end is woken.
#[derive(Debug)]
pub(crate) struct Life {
    status: watch::Sender<ContainerStatus>,
    /// The file of the node's for its last words.
    words: OnceLock<PathBuf>,
}

impl Life {
    pub(super) fn new() -> Self {
        let status = watch::Sender::new(ContainerStatus {
            state: RunState::Created,
            pid: None,
            started_at: None,
            user: (0, 0, Vec::new()),
            exit: None,
        });
        Self {
            status,
            words: OnceLock::new(),
        }
    }

    /// Its last words belong in `file`. Said before its end can be told.
    pub(super) fn leaves_words_in(&self, file: Option<PathBuf>) {
        if let Some(file) = file {
            self.words.get_or_init(|| file);
        }
    }

    /// It left these words. They are in their file before its end is known.
    pub(super) fn left(&self, words: &[u8]) {
        let Some(file) = self.words.get() else { return };
        if words.is_empty() || self.status.borrow().exit.is_some() {
            return;
        }
        if let Err(error) = last_words::write(file, words) {
            let file = file.display();
            tracing::warn!(%file, %error, "a container's last words can't be written");
        }
    }

    /// What the agent answered when it was made.
    pub(super) fn created(&self, reply: &v1::CreateContainerReply, pids: Pids) {
        self.status.send_modify(|status| {
            status.pid = (pids == Pids::OfNode).then_some(reply.pid);
            status.user = (reply.uid, reply.gid, reply.groups.clone());
        });
    }

    /// What the agent tells of it when it is listed.
    pub(super) fn recalled(&self, told: &v1::Container, pids: Pids) {
        self.status.send_modify(|status| {
            if pids == Pids::OfNode {
                status.pid = Some(told.pid);
            }
            if told.started_at_ns != 0 {
                status.started_at = Some(told_time(told.started_at_ns));
            }
            if told.state() != v1::ContainerState::Created && status.exit.is_none() {
                status.state = RunState::Running;
            }
        });
        if told.state() == v1::ContainerState::Exited {
            self.left(&told.last_words);
            self.ended(exit(told.exit.unwrap_or_default()));
        }
    }

    /// Who its first process runs as, where that is remembered from before a restart of ours.
    pub(crate) fn set_user(&self, user: (u32, u32, Vec<u32>)) {
        self.status.send_modify(|status| status.user = user);
    }

    /// It was let run. It may have ended before this is known.
    pub(super) fn started(&self) {
        self.status.send_modify(|status| {
            status.started_at.get_or_insert_with(SystemTime::now);
            if status.state == RunState::Created {
                status.state = RunState::Running;
            }
        });
    }

    /// It ended; what was told first counts.
    pub(crate) fn ended(&self, exit: ContainerExit) {
        self.status.send_if_modified(|status| {
            if status.exit.is_some() {
                return false;
            }
            status.state = RunState::Exited;
            status.exit = Some(exit);
            true
        });
    }

    /// What is known now.
    pub(crate) fn status(&self) -> ContainerStatus {
        self.status.borrow().clone()
    }

    /// Resolves when it has ended.
    pub(crate) async fn exit(&self) -> ContainerExit {
        let mut status = self.status.subscribe();
        let ended = status.wait_for(|status| status.exit.is_some()).await;
        // We hold the sender, so it can't be gone.
        ended
            .ok()
            .and_then(|status| status.exit.clone())
            .unwrap_or_else(|| lost("it is unknown how it ended"))
    }
}

/// An end as the agent tells it.
pub(crate) fn exit(told: v1::ContainerExit) -> ContainerExit {
    ContainerExit {
        code: u8::try_from(told.code).unwrap_or(u8::MAX),
        oom_killed: told.oom_killed,
        finished_at: told_time(told.finished_at_ns),
        message: String::new(),
    }
}

/// The end of a container about which nobody can tell any more.
pub(crate) fn lost(message: impl Into<String>) -> ContainerExit {
    ContainerExit {
        code: 255,
        oom_killed: false,
        finished_at: SystemTime::now(),
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn told(code: u32) -> v1::ContainerExit {
        v1::ContainerExit {
            code,
            finished_at_ns: 1_700_000_000_000_000_000,
            ..v1::ContainerExit::default()
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_first_end_counts() {
        let life = Life::new();
        life.started();
        assert_eq!(life.status().state, RunState::Running);
        life.ended(exit(told(7)));
        life.ended(lost("the sandbox is gone"));
        assert_eq!(life.exit().await.code, 7);
        assert_eq!(life.status().state, RunState::Exited);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_end_before_the_start_is_known_stays_an_end() {
        let life = Life::new();
        life.ended(exit(told(0)));
        life.started();
        assert_eq!(life.status().state, RunState::Exited);
        assert!(life.status().started_at.is_some());
    }

    #[test]
    fn a_guest_can_neither_invent_codes_nor_end_in_the_future() {
        let exit = exit(v1::ContainerExit {
            code: 70_000,
            finished_at_ns: u64::MAX,
            ..v1::ContainerExit::default()
        });
        assert_eq!(exit.code, 255);
        assert!(
            exit.finished_at
                .elapsed()
                .is_ok_and(|ago| ago < Duration::from_secs(60))
        );
    }

    #[test]
    fn what_is_listed_after_a_restart_is_believed() {
        let life = Life::new();
        let listed = v1::Container {
            state: v1::ContainerState::Exited.into(),
            pid: 77,
            started_at_ns: 1_700_000_000_000_000_000,
            exit: Some(told(3)),
            ..v1::Container::default()
        };
        life.recalled(&listed, Pids::OfGuest);
        let status = life.status();
        assert_eq!((status.state, status.pid), (RunState::Exited, None));
        assert_eq!(status.exit.map(|exit| exit.code), Some(3));
        assert!(status.started_at.is_some());
    }
}
