//! What an RPC ends in when it does not succeed: a kind for programs, a chain of causes for people.

use std::sync::Arc;

use image_service::{ErrorKind, PullError, StoreError};
pub use sandbox::Kind;

use crate::network::NetworkError;
use crate::state::StateError;

/// What an operation of this server ends in.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation that failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Found out here; says what we were doing or what is wrong with what was asked for.
    #[error("{doing}")]
    Here {
        /// What programs branch on.
        kind: Kind,
        /// What we were doing, or what is wrong.
        doing: String,
        /// What it comes from.
        source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    },
    /// From a sandbox.
    #[error(transparent)]
    Sandbox(Arc<sandbox::Error>),
    /// From the database.
    #[error(transparent)]
    State(Arc<StateError>),
    /// From the pod's network.
    #[error(transparent)]
    Network(Arc<NetworkError>),
    /// From the image store.
    #[error(transparent)]
    Image(Arc<StoreError>),
    /// From a pull.
    #[error(transparent)]
    Pull(Arc<PullError>),
}

impl Error {
    /// A failure without a further cause.
    pub fn new(kind: Kind, doing: impl Into<String>) -> Self {
        Self::Here {
            kind,
            doing: doing.into(),
            source: None,
        }
    }

    /// A failure with its cause.
    pub fn caused(
        kind: Kind,
        doing: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Here {
            kind,
            doing: doing.into(),
            source: Some(Arc::new(source)),
        }
    }

    /// What was asked for makes no sense.
    pub fn invalid(what: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, what)
    }

    /// What programs branch on.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Here { kind, .. } => *kind,
            Self::Sandbox(error) => error.kind(),
            Self::State(_) => Kind::Internal,
            Self::Network(error) => error.kind(),
            Self::Image(error) => image_kind(error.kind()),
            Self::Pull(error) => image_kind(error.kind()),
        }
    }
}

fn image_kind(kind: ErrorKind) -> Kind {
    match kind {
        ErrorKind::InvalidArgument | ErrorKind::BadImage | ErrorKind::Denied => Kind::Invalid,
        ErrorKind::NotFound => Kind::NotFound,
        ErrorKind::Unavailable | ErrorKind::InUse => Kind::Unavailable,
        ErrorKind::TimedOut => Kind::TimedOut,
        ErrorKind::NoSpace => Kind::NoSpace,
        _ => Kind::Internal,
    }
}

impl From<sandbox::Error> for Error {
    fn from(error: sandbox::Error) -> Self {
        Self::Sandbox(Arc::new(error))
    }
}

impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        Self::State(Arc::new(error))
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Image(Arc::new(error))
    }
}

impl From<PullError> for Error {
    fn from(error: PullError) -> Self {
        Self::Pull(Arc::new(error))
    }
}

impl From<NetworkError> for Error {
    fn from(error: NetworkError) -> Self {
        Self::Network(Arc::new(error))
    }
}

/// Says what we were doing when something else failed; the kind stays.
pub trait Doing<T> {
    /// Adds `doing` in front of the causes.
    fn doing(self, doing: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: impl Into<String>) -> Result<T> {
        self.map_err(|error| {
            let error = error.into();
            Error::caused(error.kind(), doing, error)
        })
    }
}

/// `error` and its causes on one line: "stop sandbox: kill agent: no such process".
pub fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |e| e.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_reads_from_the_outside_in_and_says_each_cause_once() {
        let cause = std::io::Error::other("no such process");
        let error = sandbox::Error::caused(Kind::WrongState, "kill agent", cause);
        let error = Result::<(), _>::Err(error)
            .doing("stop sandbox")
            .unwrap_err();
        assert_eq!(chain(&error), "stop sandbox: kill agent: no such process");
        assert_eq!(error.kind(), Kind::WrongState);
    }
}
