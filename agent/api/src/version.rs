//! Which words both sides know.

/// Newest protocol this build speaks. It rises when a word is added.
pub const PROTOCOL: u32 = 1;

/// Oldest protocol this build still understands, so that pods outlive an upgrade.
pub const OLDEST: u32 = 1;

/// vsock port of the guest on which the agent listens.
pub const AGENT_PORT: u32 = 1024;

/// vsock port of the host on which the VMM takes the output of all containers, over one connection.
///
/// This one and the next serve only who connects before the agent has reported that it is ready: after
/// that, containers run in the guest, and may connect as well as the agent.
pub const LOG_PORT: u32 = 1025;

/// vsock port of the host on which the VMM takes what the guest's kernel says: plain lines. Older ones
/// refuse the connection.
pub const KERNEL_LOG_PORT: u32 = 1026;

/// Most bytes of one message either way.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// What an agent says of itself, in [`crate::v1::HelloReply`] and as the one line with which a guest's
/// agent reports to the host that it is ready.
pub fn build_line(version: &str) -> String {
    format!("bulkhead-agent {version} protocol {OLDEST}..{PROTOCOL}")
}
