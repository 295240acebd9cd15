//! A node's network run with plugins that are shell scripts: what they are told, and what becomes
//! of a node when they misbehave.

mod attach;
mod failures;
mod fake;
mod leaks;
mod node;
