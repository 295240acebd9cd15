//! Pulling from a registry that runs in this process and misbehaves as told.

#![expect(clippy::unwrap_used, reason = "a test may panic anywhere")]

mod auth;
mod basics;
mod crash;
mod faults;
mod image;
mod mirrors;
mod node;
mod registry;
mod tls;
