//! End-to-end tests: what they stand on. The tests themselves are in `tests/`, one file a topic.
//!
//! They use built binaries and public protocols only, inside a node VM (`cargo xtask node`).

#[cfg(feature = "bench")]
pub mod bench;
pub mod debian;
pub mod image;
pub mod images;
pub mod large_image;
#[cfg(feature = "privileged")]
pub mod process;
pub mod registry;
#[cfg(feature = "privileged")]
pub mod runtime;
#[cfg(feature = "privileged")]
pub mod server;
#[cfg(feature = "privileged")]
pub mod spdy;
#[cfg(feature = "privileged")]
pub mod terminal;
