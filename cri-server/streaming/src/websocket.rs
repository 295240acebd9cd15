//! WebSocket as the Kubernetes clients speak it: messages that begin with the number of a channel, or
//! that carry the bytes of a SPDY connection.

pub(crate) mod channel;
mod connection;
mod listener;
mod outlet;
mod tunnel;

pub(crate) use channel::Encoding;
pub(crate) use connection::{Socket, accept, connect};
pub(crate) use listener::Violation;
pub(crate) use outlet::Outlet;
pub(crate) use tunnel::Tunnel;
