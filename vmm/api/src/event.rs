//! What a VMM tells without being asked.

use serde::{Deserialize, Serialize};

/// Something that happened to the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The vCPUs run.
    Running,
    /// The agent in the guest answers on its port.
    GuestReady,
    /// The machine is over; the process ends soon after this.
    Stopped {
        /// How it ended.
        how: Stop,
        /// In words, for the pod's status.
        why: String,
    },
}

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// The guest powered off.
    PowerOff,
    /// The guest asked for a reset, which is how a panicked kernel ends (`panic=-1`).
    Reset,
    /// The guest crashed (triple fault).
    Crash,
    /// We were asked to end it.
    Killed,
    /// The host could not go on running it.
    HostError,
}
