//! What survives a restart of ours.

use serde::{Deserialize, Serialize};

use crate::SandboxId;

/// What a kind needs to take a sandbox back. Opaque to all but the kind that wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSandbox {
    /// Its id.
    pub id: SandboxId,
    /// The shape of `content`; each kind counts its own.
    pub version: u32,
    /// JSON of the kind's own making.
    pub content: String,
}
