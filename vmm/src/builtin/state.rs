//! What a machine may do next.
//!
//! ```text
//! Created ──Boot──▶ Running ──Stop──▶ Stopped
//!    └──────────────Stop────────────────▲
//! ```

use std::fmt;

/// Where a machine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MachineState {
    /// Not booted yet.
    Created,
    /// Its vCPUs run.
    Running,
    /// Over, for whatever reason. There is no way back.
    Stopped,
}

/// What may happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It is to boot.
    Boot,
    /// A device is to come or to go.
    Change,
    /// The guest ended it, or we do.
    Stop,
}

/// Why an event is not allowed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("machine is {state} and can't {event}")]
pub struct Denied {
    state: MachineState,
    event: Event,
}

impl MachineState {
    /// The state after `event`, or why the event is not allowed now.
    pub(super) fn apply(self, event: Event) -> Result<Self, Denied> {
        use {Event as E, MachineState as S};
        Ok(match (self, event) {
            (S::Created, E::Boot) | (S::Running, E::Change) => S::Running,
            // Stop is idempotent: several vCPUs may see the end, and the kubelet retries.
            (_, E::Stop) => S::Stopped,
            (state, event) => return Err(Denied { state, event }),
        })
    }
}

impl fmt::Display for MachineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Stopped => "stopped",
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boot => "boot",
            Self::Change => "change devices",
            Self::Stop => "stop",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(from: MachineState, event: Event, to: Option<MachineState>) {
        assert_eq!(from.apply(event).ok(), to);
    }

    #[test]
    fn a_machine_boots_once() {
        check(
            MachineState::Created,
            Event::Boot,
            Some(MachineState::Running),
        );
        check(MachineState::Running, Event::Boot, None);
        check(MachineState::Stopped, Event::Boot, None);
    }

    #[test]
    fn devices_come_and_go_only_while_it_runs() {
        check(MachineState::Created, Event::Change, None);
        check(
            MachineState::Running,
            Event::Change,
            Some(MachineState::Running),
        );
        check(MachineState::Stopped, Event::Change, None);
    }

    #[test]
    fn it_can_always_be_stopped() {
        for from in [
            MachineState::Created,
            MachineState::Running,
            MachineState::Stopped,
        ] {
            check(from, Event::Stop, Some(MachineState::Stopped));
        }
    }

    #[test]
    fn a_denial_says_what_and_why() {
        let denied = MachineState::Created.apply(Event::Change).unwrap_err();
        assert_eq!(
            denied.to_string(),
            "machine is created and can't change devices"
        );
    }
}
