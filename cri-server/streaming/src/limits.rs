//! What a client may use.

use std::time::Duration;

use crate::config::Config;

/// What a client may use. What an operator may change comes from the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Streams of a SPDY connection that are open at once.
    pub(crate) streams: usize,
    /// Bytes of each stream that were read and wait to be used.
    pub(crate) inbox_bytes: usize,
    /// Longest WebSocket message.
    pub(crate) message_bytes: usize,
    /// For the streams of a command, or the pair of a forwarded connection, to be opened.
    pub(crate) stream_creation: Duration,
    /// Without a byte in either direction.
    pub(crate) idle: Duration,
    /// For the client to close the connection once it has everything.
    pub(crate) linger: Duration,
    /// For output that a command's offspring holds open after the command has ended.
    pub(crate) drain: Duration,
    /// For a request to arrive, with its TLS.
    pub(crate) request: Duration,
}

impl Limits {
    /// The limits that `config` asks for.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            streams: 256,
            inbox_bytes: 64 * 1024,
            message_bytes: 4 * 1024 * 1024,
            stream_creation: Duration::from_secs(config.stream_creation_timeout_s),
            idle: Duration::from_secs(config.idle_timeout_s),
            linger: Duration::from_secs(300),
            drain: Duration::from_secs(2),
            request: Duration::from_secs(10),
        }
    }
}
