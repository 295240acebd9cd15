//! Why a request was not carried out: a closed set of codes, and words for people.

use serde::{Deserialize, Serialize};

/// A refused or failed request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// For programs.
    pub code: ErrorCode,
    /// For people: the chain of causes on one line.
    pub message: String,
}

/// For programs. Codes of a newer peer decode to [`ErrorCode::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The request or the machine it describes makes no sense.
    Invalid,
    /// Not in this state.
    WrongState,
    /// This kind of machine can't do that.
    Unsupported,
    /// There is no such device or container.
    NotFound,
    /// No free slot, memory or descriptor.
    NoSpace,
    /// KVM is missing or refused.
    Unavailable,
    /// Ours to mend.
    Internal,
    /// A code that this build doesn't know.
    #[serde(other)]
    Other,
}
