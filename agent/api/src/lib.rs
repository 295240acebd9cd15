//! The protocol of `bulkhead-agent`, and the host's client.
//!
//! One protocol serves an agent on the host (unix socket) and in a guest (vsock). What a guest's
//! agent answers is untrusted: bounded, parsed, never a host path.

#[cfg(feature = "client")]
pub mod client;
pub mod exit_record;
pub mod flow;
pub mod last_words;
pub mod log_frame;
pub mod version;

#[cfg(feature = "client")]
pub use client::{Address, Client};

#[expect(
    missing_docs,
    reason = "generated; the words are explained in proto/agent.proto"
)]
#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    reason = "generated"
)]
pub mod v1 {
    tonic::include_proto!("bulkhead.agent.v1");
}
