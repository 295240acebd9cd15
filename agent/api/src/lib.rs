//! The protocol of `bulkhead-agent`, and the host's client.
//!
//! One protocol serves an agent on the host (unix socket) and in a guest (vsock). What a guest's
//! agent answers is untrusted: bounded, parsed, never a host path.

pub mod version;

#[expect(
    missing_docs,
    reason = "generated; the words are explained in proto/agent.proto"
)]
#[allow(clippy::all, unreachable_pub, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("bulkhead.agent.v1");
}
