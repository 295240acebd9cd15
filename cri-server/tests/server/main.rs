//! The server over its unix socket, as the kubelet uses it, with sandboxes that exist in memory only.
//!
//! What is real: the socket, gRPC, the database, the image store and a registry. What is not: the
//! isolation, so that its failures and delays can be had at will.

#![expect(
    clippy::unwrap_used,
    reason = "in a test what goes wrong ends the test"
)]

mod containers;
mod events;
mod exec;
mod images;
mod in_flight;
mod metrics;
mod node;
mod pod_cidr;
mod pods;
mod registry;
mod restart;
mod status;
mod world;
