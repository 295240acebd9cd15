//! How much of a stream travels at once, which both sides must agree on to be fast.
//!
//! A piece of output, its message and its HTTP/2 frame go through a guest's vsock as one packet, of at
//! most 64 KiB: every further packet costs the guest an exit to its VMM, and every further frame a round
//! of the event loop on both sides.

/// How far a sender may run ahead of the reader of one stream, which is what a client that reads nothing
/// costs us. The reader tells of its progress every half of it.
pub const STREAM_WINDOW: u32 = 512 * 1024;

/// The same for all streams of a connection: so many that nobody reads do not hold up the others.
pub const CONNECTION_WINDOW: u32 = 128 * STREAM_WINDOW;

/// Bytes of the largest HTTP/2 frame. The default of 16 KiB would cut every piece in several.
pub const FRAME: u32 = 64 * 1024;

/// Most bytes of a stream in one message: what is left of a packet by the heads of frame and message.
pub const PIECE: usize = 60 * 1024;
