//! One error for all kinds of sandbox: what kind of failure, what we were doing, and its cause.

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

    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}
