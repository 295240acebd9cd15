//! Which words both sides know.

/// Newest protocol this build speaks. It rises when a word is added.
pub const PROTOCOL: u32 = 1;

/// Oldest protocol this build still understands from a VMM that runs since before an upgrade.
pub const OLDEST: u32 = 1;
