//! Exec, attach and port-forward for the clients of a CRI server, over SPDY/3.1 and WebSocket.
//!
//! [`StreamingServer`] turns what the kubelet asks for into a URL with a token, and serves whoever comes
//! with that token. It knows nothing of containers: an [`Executor`] runs, joins and dials.

mod activity;
mod config;
mod conversation;
mod copy;
mod counters;
mod delivery;
mod executor;
mod http;
mod limits;
mod listen;
mod output;
mod port_forward;
mod remote_command;
mod request;
mod resize;
mod server;
mod session;
mod socket;
mod spdy;
mod spdy_session;
mod status;
mod tls;
mod tokens;
mod upgrade;
mod websocket;
mod websocket_session;

#[doc(hidden)]
pub mod fuzz;

pub use config::Config;
pub use counters::Counts;
pub use executor::{Connection, Error, Executor, Process};
pub use request::RequestError;
pub use server::{OpenError, StreamingServer};
