//! SPDY/3.1 as the Kubernetes clients speak it: streams that the client opens, no push, no flow control.
//!
//! Windows and settings are read and ignored, as the other side does. The only back-pressure is not to
//! read: a stream that nobody empties stops the whole connection, and nothing grows.

pub(crate) mod connection;
pub(crate) mod dictionary;
pub(crate) mod frame;
pub(crate) mod header_block;
pub(crate) mod offer;
pub(crate) mod outlet;
pub(crate) mod reader;
pub(crate) mod stream_state;
pub(crate) mod streams;
pub(crate) mod writer;

pub(crate) use connection::connect;
pub(crate) use offer::{Offer, Stream};
pub(crate) use outlet::Outlet;

/// Why a connection can't go on: what the client sent means nothing, or is too much.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Violation {
    /// The client does not follow the framing.
    #[error("read a frame")]
    Frame(#[from] frame::FrameError),
    /// Its headers can't be read.
    #[error("read the headers of a stream")]
    Headers(#[from] header_block::HeaderError),
    /// It broke the rules of streams.
    #[error("follow the client's streams")]
    Stream(#[from] stream_state::Denied),
    /// It asks more than it listens to the answers.
    #[error("answer the client: it does not read")]
    Flood,
}
