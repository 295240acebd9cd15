//! What a sandbox may ask of its VMM, and what it answers.

use serde::{Deserialize, Serialize};

use crate::{DeviceAddress, DeviceSpec, Failure, MachineSpec, machine_spec::FdIndex};

/// One request. The reply to each is a [`Reply`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// First on every connection: the sender's range of protocols. Answered by [`Reply::Hello`].
    Hello {
        /// Oldest the sender understands.
        min: u32,
        /// Newest.
        max: u32,
    },
    /// Build the machine and boot it; once per process. Answered when the vCPUs run.
    Boot(Box<MachineSpec>),
    /// Make a device appear. The agent must rescan the bus afterwards.
    Attach(DeviceSpec),
    /// Make a device go away. The agent must have removed it from its bus before.
    Detach(DeviceAddress),
    /// From now on the output that the guest tags with `container` is appended to `file` as CRI log
    /// lines. Asked again, it switches to the new file between two lines (log rotation).
    OpenLog {
        /// The container's key, as given to the agent.
        container: String,
        /// The log file, open for appending.
        file: FdIndex,
    },
    /// Forget a container's log file.
    CloseLog {
        /// The container's key.
        container: String,
    },
    /// What the machine is doing. Answered by [`Reply::Status`].
    Status,
    /// Turn this connection into a stream of [`crate::Event`]s: after [`Reply::Done`] come those that have
    /// happened already, then those to come. Nothing else can be asked on it any more.
    Subscribe,
    /// End the machine and the process. What is still running in the guest is lost.
    Kill,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Done, and there is nothing to tell.
    Done,
    /// The protocol to speak and the build that speaks it.
    Hello {
        /// Newest protocol that both sides know.
        protocol: u32,
        /// Version of the VMM, for people.
        build: String,
    },
    /// Where the attached device sits.
    Attached(DeviceAddress),
    /// The machine's state.
    Status(MachineStatus),
    /// Not done.
    Failed(Failure),
}

/// What a machine is doing, for people and for adoption.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineStatus {
    /// `created`, `running` or `stopped`.
    pub state: String,
    /// Why it stopped, in words, once it has.
    pub why: Option<String>,
    /// Devices attached after boot and their serial numbers.
    pub devices: Vec<(DeviceAddress, String)>,
    /// Counters by name (`console_bytes`, `vsock_rx_bytes`, `guest_errors`, …).
    pub counters: Vec<(String, u64)>,
}
