//! What can go wrong, in words for an operator and in kinds for a program.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use excerpt::excerpt;
pub use failure::{Failure, PluginError};

mod excerpt;
mod failure;

/// An operation on a network failed. Causes are in `source`, as far as there are any.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What the caller gave can't be used.
    #[error("use what the caller of CNI gave")]
    Invalid(#[from] Invalid),
    /// There is no network, or its plugins say that they can't serve now.
    #[error("network is not ready: {reason}")]
    NotReady {
        /// Why, as [`crate::Readiness`] has it.
        reason: String,
    },
    /// So many operations are under way that this one did not get its turn in time.
    #[error("wait {waited:?} for a turn to run CNI plugins")]
    Busy {
        /// How long it waited.
        waited: Duration,
    },
    /// The interface is attached already; nothing was done.
    #[error("attach {container_id} {ifname} to network {network}, where it is attached already")]
    Attached {
        /// The container.
        container_id: String,
        /// The interface in it.
        ifname: String,
        /// The network.
        network: String,
    },
    /// A plugin failed.
    #[error("run network {network}")]
    Plugin {
        /// The network whose plugin it is.
        network: String,
        /// Which plugin, and how.
        source: Box<PluginError>,
    },
    /// The record of an attachment could not be written, read or removed.
    #[error("{doing} the record {path} of a network attachment")]
    Record {
        /// Which step.
        doing: &'static str,
        /// The record.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A network configuration can't be used.
    #[error("use network configuration {path}")]
    Config {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: ConfigError,
    },
}

/// What to do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The caller has to ask for something else.
    Invalid,
    /// It may work later, without anyone doing anything.
    TryLater,
    /// A plugin, or waiting for it, took too long.
    TimedOut,
    /// A plugin failed.
    Plugin,
    /// This node is at fault: files, processes, configuration.
    Internal,
}

impl Error {
    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) | Self::Attached { .. } => Kind::Invalid,
            Self::NotReady { .. } => Kind::TryLater,
            Self::Busy { .. } => Kind::TimedOut,
            Self::Plugin { source, .. } => source.failure.kind(),
            Self::Record { .. } | Self::Config { .. } => Kind::Internal,
        }
    }
}

/// A value from outside that is not of the shape it has to have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} is not {shape}")]
pub struct Invalid {
    what: &'static str,
    text: String,
    shape: &'static str,
}

impl Invalid {
    pub(crate) fn new(what: &'static str, text: &str, shape: &'static str) -> Self {
        let text = excerpt(text.as_bytes());
        Self { what, text, shape }
    }
}

/// A network configuration is not what the specification wants.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It can't be read.
    #[error("read it")]
    Read(#[from] io::Error),
    /// It is too large to be one.
    #[error("it has more than {limit} bytes")]
    TooLarge {
        /// How many it may have.
        limit: u64,
    },
    /// It is not JSON.
    #[error("parse it as JSON")]
    Json(#[from] serde_json::Error),
    /// A key has a value of the wrong kind, or none.
    #[error("its {key} is not {shape}")]
    Key {
        /// Which key.
        key: &'static str,
        /// What it has to be.
        shape: &'static str,
    },
    /// A key's text is not of the shape it has to have.
    #[error("use its names and versions")]
    Value(#[from] Invalid),
    /// None of its versions can be used.
    #[error("none of its CNI versions, {offered}, is spoken by all its plugins: {spoken}")]
    Version {
        /// What the configuration offers.
        offered: String,
        /// What each plugin speaks.
        spoken: String,
    },
    /// Its template can't be rendered.
    #[error("render its template, line {line}: {what}")]
    Template {
        /// Where, counted from 1.
        line: usize,
        /// What is wrong there.
        what: String,
    },
}

/// `error` and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Command;

    #[test]
    fn an_operator_reads_network_plugin_code_and_details() {
        let failure = Failure::Refused {
            code: 7,
            msg: "Invalid Configuration".into(),
            details: "range too small".into(),
        };
        let source = Box::new(PluginError {
            plugin: "bridge".into(),
            command: Command::Add,
            failure,
        });
        let network = "podnet".into();
        let error = Error::Plugin { network, source };
        assert_eq!(
            chain(&error),
            "run network podnet: CNI plugin bridge: ADD: code 7: Invalid Configuration (range too small)"
        );
    }
}
