//! The kernel's routing socket, as far as pods need it: links, addresses, routes and their rules, neighbours,
//! and frames redirected from one link to another (rtnetlink(7)).
//!
//! The host reads a pod's network with it, and the agent of a guest repeats there what the host read.
//! Calls block, but only on the kernel; a [`Socket`] belongs to the network namespace of the thread
//! that opened it.

pub mod address;
pub mod attributes;
pub mod link;
pub mod message;
pub mod neighbour;
pub mod redirect;
pub mod route;
pub mod rule;
pub mod socket;

pub use address::Address;
pub use link::{Link, Traffic};
pub use neighbour::Neighbour;
pub use route::Route;
pub use rule::Rule;
pub use socket::Socket;

use std::net::IpAddr;

/// `AF_INET` or `AF_INET6`.
fn family(ip: &IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 2,
        IpAddr::V6(_) => 10,
    }
}

/// An address as the kernel writes it.
fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// An address as the kernel reads it.
fn ip_bytes(ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
