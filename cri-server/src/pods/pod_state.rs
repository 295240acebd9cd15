//! Where a pod is in its life, and how it moves on.
//!
//! ```text
//! Creating ──Made──▶ Ready ──Over──▶ NotReady ──Remove──▶ Removing ──▶ (gone)
//!     └──(failed: undone, gone)         ▲ Over
//! ```

use serde::{Deserialize, Serialize};

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodState {
    /// Work on it has begun. Nobody sees it; found after a restart, it is removed.
    Creating,
    /// Containers can be made in it.
    Ready,
    /// Stopped or dead.
    NotReady,
    /// Being removed. Found after a restart, its removal is finished.
    Removing,
}

/// What happens to pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodEvent {
    /// All of it is there.
    Made,
    /// Its sandbox was stopped, died or is lost.
    Over,
    /// It is to go for good.
    Remove,
}

/// A move that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pod that is {state:?} can't go through {event:?}")]
pub struct Denied {
    state: PodState,
    event: PodEvent,
}

impl PodState {
    /// One word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
            Self::NotReady => "not_ready",
            Self::Removing => "removing",
        }
    }

    /// The state after `event`, or why the event is not allowed now.
    pub fn apply(self, event: PodEvent) -> Result<Self, Denied> {
        use {PodEvent as E, PodState as S};
        Ok(match (self, event) {
            (S::Creating, E::Made) => S::Ready,
            // Over is said more than once: by whoever stops it and by whoever watches it.
            (S::Ready | S::NotReady, E::Over) => S::NotReady,
            (S::Removing, E::Over) => S::Removing,
            // Removal is idempotent: the kubelet retries until it succeeds.
            (S::NotReady | S::Removing, E::Remove) => S::Removing,
            (state, event) => return Err(Denied { state, event }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{PodEvent as E, PodState as S};

    #[track_caller]
    fn check(from: S, event: E, to: Option<S>) {
        assert_eq!(from.apply(event).ok(), to, "{from:?} {event:?}");
    }

    #[test]
    fn a_pod_is_removed_only_after_it_is_over() {
        check(S::Ready, E::Remove, None);
        check(S::NotReady, E::Remove, Some(S::Removing));
        check(S::Removing, E::Remove, Some(S::Removing));
    }

    #[test]
    fn a_pod_that_is_over_never_comes_back() {
        check(S::Ready, E::Over, Some(S::NotReady));
        check(S::NotReady, E::Over, Some(S::NotReady));
        check(S::NotReady, E::Made, None);
        check(S::Removing, E::Over, Some(S::Removing));
        check(S::Removing, E::Made, None);
    }

    #[test]
    fn a_half_made_pod_becomes_ready_or_nothing() {
        check(S::Creating, E::Made, Some(S::Ready));
        check(S::Creating, E::Over, None);
        check(S::Creating, E::Remove, None);
    }
}
