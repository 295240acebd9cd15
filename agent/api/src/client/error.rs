//! Why a call to an agent failed.

use super::Address;
use crate::version;

/// Why a call to an agent failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody there, or nobody who speaks HTTP/2.
    #[error("reach agent at {address}")]
    Connect {
        /// Where we tried.
        address: Address,
        /// Why it failed.
        source: tonic::transport::Error,
    },
    /// An agent of another age.
    #[error(
        "agent speaks protocol {theirs}, this build {} to {}",
        version::OLDEST,
        version::PROTOCOL
    )]
    Incompatible {
        /// What the agent chose.
        theirs: u32,
    },
    /// No answer in time. Whether it was done is unknown.
    #[error("agent did not {doing} in time")]
    TimedOut {
        /// What it was asked to do.
        doing: &'static str,
    },
    /// The agent said no, or the connection broke. `source` has the agent's words.
    #[error("agent: {doing}")]
    Refused {
        /// What it was asked to do.
        doing: &'static str,
        /// Its answer.
        source: Box<tonic::Status>,
    },
    /// The stream ended before the process did.
    #[error("agent: {doing}: the stream ended early")]
    Ended {
        /// What it was asked to do.
        doing: &'static str,
    },
}

impl Error {
    /// For programs. `Unavailable` means that the agent could not be reached.
    pub fn code(&self) -> tonic::Code {
        match self {
            Self::Connect { .. } | Self::Ended { .. } => tonic::Code::Unavailable,
            Self::Incompatible { .. } => tonic::Code::Unimplemented,
            Self::TimedOut { .. } => tonic::Code::DeadlineExceeded,
            Self::Refused { source, .. } => source.code(),
        }
    }

    /// The agent's own words where it gave an answer. From a guest: untrusted text of bounded length.
    pub fn words(&self) -> Option<&str> {
        match self {
            Self::Refused { source, .. } => Some(source.message()),
            _ => None,
        }
    }
}
