//! `runtime.v1` of the Container Runtime Interface, with its server and client.
//!
//! Generated from the project's own definitions in `proto/runtime.proto`.

mod auth_config;

#[expect(
    missing_docs,
    reason = "generated; the interface is explained by Kubernetes"
)]
#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    reason = "generated"
)]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}

/// The version that the kubelet asks for in `Version` and insists on in the answer.
pub const KUBELET_API_VERSION: &str = "0.1.0";

/// Most bytes of one message. The kubelet takes 16 MiB; tonic's own default of 4 MiB is too small for a full node.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;
