//! Where a container is in its life, and how it moves on.
//!
//! ```text
//! Creating ──Made──▶ Created ──Started──▶ Running ──Ended──▶ Exited ──Remove──▶ Removing ──▶ (gone)
//!     └──(failed: undone, gone)  └────────Ended────────────────▲
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Work on it has begun. Nobody sees it; found after a restart, it is removed.
    Creating,
    /// Made, and not started.
    Created,
    /// Runs.
    Running,
    /// Its first process has ended.
    Exited,
    /// Being removed. Found after a restart, its removal is finished.
    Removing,
}

impl fmt::Display for ContainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "being made",
            Self::Created => "created, not started",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Removing => "being removed",
        })
    }
}

/// What happens to containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerEvent {
    /// All of it is there.
    Made,
    /// It was let run.
    Started,
    /// Its first process has ended, or it is lost.
    Ended,
    /// It is to go for good.
    Remove,
}

/// A move that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a container that is {state} can't go through {event:?}")]
pub struct Denied {
    state: ContainerState,
    event: ContainerEvent,
}

impl ContainerState {
    /// One word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Removing => "removing",
        }
    }

    /// The state after `event`, or why the event is not allowed now.
    pub fn apply(self, event: ContainerEvent) -> Result<Self, Denied> {
        use {ContainerEvent as E, ContainerState as S};
        Ok(match (self, event) {
            (S::Creating, E::Made) => S::Created,
            (S::Created, E::Started) => S::Running,
            // A short life can be over before its start is noted.
            (S::Exited, E::Started) => S::Exited,
            (S::Created | S::Running | S::Exited, E::Ended) => S::Exited,
            (S::Removing, E::Ended) => S::Removing,
            // Removal is idempotent: the kubelet retries until it succeeds.
            (S::Exited | S::Removing, E::Remove) => S::Removing,
            (state, event) => return Err(Denied { state, event }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ContainerEvent as E, ContainerState as S};

    #[track_caller]
    fn check(from: S, event: E, to: Option<S>) {
        assert_eq!(from.apply(event).ok(), to, "{from:?} {event:?}");
    }

    #[test]
    fn a_container_runs_once() {
        check(S::Created, E::Started, Some(S::Running));
        check(S::Running, E::Started, None);
        check(S::Exited, E::Made, None);
    }

    #[test]
    fn an_end_noted_before_the_start_stays_the_end() {
        check(S::Created, E::Ended, Some(S::Exited));
        check(S::Exited, E::Started, Some(S::Exited));
        check(S::Exited, E::Ended, Some(S::Exited));
    }

    #[test]
    fn a_container_is_removed_only_after_it_has_ended() {
        check(S::Running, E::Remove, None);
        check(S::Created, E::Remove, None);
        check(S::Exited, E::Remove, Some(S::Removing));
        check(S::Removing, E::Remove, Some(S::Removing));
        check(S::Removing, E::Ended, Some(S::Removing));
    }
}
