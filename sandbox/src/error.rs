//! One error for all kinds of sandbox: what kind of failure, what we were doing, and its cause.

use std::io;

/// What a sandbox operation ends in.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A sandbox operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct Error {
    kind: Kind,
    doing: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What kind of failure it is; programs branch on this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such thing.
    NotFound,
    /// There is one already.
    AlreadyExists,
    /// Not now, in this state.
    WrongState,
    /// What was asked for makes no sense.
    Invalid,
    /// This kind of sandbox can't do that.
    Unsupported,
    /// Disk, memory, or an id space is full.
    NoSpace,
    /// It can't be reached or used on this node now.
    Unavailable,
    /// It took too long.
    TimedOut,
    /// Ours to mend.
    Internal,
}

impl Error {
    /// A failure without a further cause.
    pub fn new(kind: Kind, doing: impl Into<String>) -> Self {
        Self {
            kind,
            doing: doing.into(),
            source: None,
        }
    }

    /// A failure with its cause.
    pub fn caused(
        kind: Kind,
        doing: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            doing: doing.into(),
            source: Some(source.into()),
        }
    }

    /// A failed system call or file operation; its kind follows from the cause.
    pub(crate) fn io(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::NoSpace,
            io::ErrorKind::TimedOut => Kind::TimedOut,
            _ => Kind::Internal,
        };
        Self::caused(kind, doing, source)
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The error and its causes on one line: "stop sandbox: kill agent: no such process".
    pub fn chain(&self) -> String {
        std::iter::successors(Some(self as &dyn std::error::Error), |error| error.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_tells_every_cause_once() {
        let error = Error::io("stop sandbox", io::Error::other("no such process"));
        assert_eq!(error.chain(), "stop sandbox: no such process");
        assert_eq!(error.to_string(), "stop sandbox");
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Error::io("write", full).kind(), Kind::NoSpace);
    }
}
