//! The states of a container and the moves between them.

use agent_api::v1;

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    /// Its first process waits before its first instruction.
    Created,
    /// Its first process runs.
    Running {
        /// Since when.
        started_at_ns: u64,
    },
    /// Its first process has ended, the others were killed, all output is in the log.
    Exited {
        /// 0 if it never ran.
        started_at_ns: u64,
        /// How it ended.
        exit: v1::ContainerExit,
    },
}

/// What can happen to a container.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Event {
    /// Somebody starts it.
    Start {
        /// When.
        at_ns: u64,
    },
    /// It ended.
    Exit(v1::ContainerExit),
}

/// A move that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is {0}, not {1}")]
pub(crate) struct Denied(&'static str, &'static str);

impl State {
    /// The state after `event`, or why the event is not allowed now.
    pub(crate) fn apply(self, event: Event) -> Result<Self, Denied> {
        Ok(match (self, event) {
            (Self::Created, Event::Start { at_ns }) => Self::Running {
                started_at_ns: at_ns,
            },
            (Self::Created, Event::Exit(exit)) => Self::Exited {
                started_at_ns: 0,
                exit,
            },
            (Self::Running { started_at_ns }, Event::Exit(exit)) => Self::Exited {
                started_at_ns,
                exit,
            },
            (state, Event::Start { .. }) => return Err(Denied(state.name(), "created")),
            (state, Event::Exit(_)) => return Err(Denied(state.name(), "running")),
        })
    }

    /// In a word.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running { .. } => "running",
            Self::Exited { .. } => "exited",
        }
    }

    /// Refuses what only a running container can do.
    pub(crate) fn must_run(&self) -> Result<(), Denied> {
        match self {
            Self::Running { .. } => Ok(()),
            _ => Err(Denied(self.name(), "running")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXIT: v1::ContainerExit = v1::ContainerExit {
        code: 1,
        signal: 0,
        oom_killed: false,
        finished_at_ns: 9,
    };
    const RUNNING: State = State::Running { started_at_ns: 5 };

    fn exited(started_at_ns: u64) -> State {
        State::Exited {
            started_at_ns,
            exit: EXIT,
        }
    }

    #[track_caller]
    fn check(from: State, event: Event, to: Option<State>) {
        assert_eq!(from.apply(event).ok(), to);
    }

    #[test]
    fn a_container_is_started_once_and_ends_once() {
        check(State::Created, Event::Start { at_ns: 5 }, Some(RUNNING));
        check(RUNNING, Event::Start { at_ns: 6 }, None);
        check(RUNNING, Event::Exit(EXIT), Some(exited(5)));
        check(exited(5), Event::Exit(EXIT), None);
    }

    #[test]
    fn an_ended_container_never_starts_again() {
        check(exited(5), Event::Start { at_ns: 6 }, None);
    }

    #[test]
    fn a_container_may_end_before_it_starts() {
        check(State::Created, Event::Exit(EXIT), Some(exited(0)));
    }

    #[test]
    fn the_reason_says_both_states() {
        assert_eq!(
            State::Created.must_run().unwrap_err().to_string(),
            "it is created, not running"
        );
    }
}
