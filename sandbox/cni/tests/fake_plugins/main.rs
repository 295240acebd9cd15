//! A node's network run with plugins that are shell scripts: what they are told, and what becomes
//! of a node when they misbehave.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attach;
mod failures;
mod fake;
mod leaks;
mod node;
