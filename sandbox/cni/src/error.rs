//! What can go wrong, in words for an operator and in kinds for a program.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::exec::Command;

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

/// A plugin could not be run, or failed.
#[derive(Debug, thiserror::Error)]
#[error("CNI plugin {plugin}: {command}")]
pub struct PluginError {
    /// Its `type`, which is the name of its program.
    pub plugin: String,
    /// What it was to do.
    pub command: Command,
    /// How it failed.
    #[source]
    pub failure: Failure,
}

/// How a plugin failed. Text that the plugin wrote is cut to some hundred printable characters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// It said so itself.
    #[error("code {code}: {msg}{}", in_brackets(details))]
    Refused {
        /// 1 to 99 are those of the specification, others the plugin's own.
        code: u64,
        /// What went wrong.
        msg: String,
        /// More of it; may be empty.
        details: String,
    },
    /// It ended otherwise than by success, without an error in CNI's format.
    #[error("ended with {status} and no CNI error{}", after_colon(output))]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// What it wrote; may be empty.
        output: String,
    },
    /// It was not done in time. It and all processes it started were killed.
    #[error("not done after {0:?}, killed")]
    TimedOut(Duration),
    /// It wrote more than it may. It and all processes it started were killed.
    #[error("wrote more than {limit} bytes, killed")]
    TooMuchOutput {
        /// What it may write.
        limit: usize,
    },
    /// What it wrote is not what it has to write.
    #[error("answered what is not {expected}{}", after_colon(output))]
    Nonsense {
        /// What it has to write.
        expected: String,
        /// What it wrote; may be empty.
        output: String,
    },
    /// There is no such program.
    #[error("no such program in {}", list(dirs))]
    NotFound {
        /// Where it was looked for.
        dirs: Vec<PathBuf>,
    },
    /// The program could not be started, or not be talked to.
    #[error("{doing} {program}")]
    Process {
        /// Which step.
        doing: &'static str,
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Failure {
    /// CNI's code for "try again later", from 0.4.0 on.
    const TRY_LATER: u64 = 11;
    /// CNI's codes for "not available", from 1.1.0 on.
    const NOT_AVAILABLE: [u64; 2] = [50, 51];

    fn kind(&self) -> Kind {
        match self {
            Self::Refused { code, .. }
                if *code == Self::TRY_LATER || Self::NOT_AVAILABLE.contains(code) =>
            {
                Kind::TryLater
            }
            Self::TimedOut(_) => Kind::TimedOut,
            Self::NotFound { .. } | Self::Process { .. } => Kind::Internal,
            _ => Kind::Plugin,
        }
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
    #[error("CNI versions {offered} of it and of its plugins have none in common ({spoken})")]
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

/// Most characters of a stranger's text in an error or a log.
const EXCERPT: usize = 500;

/// A stranger's text, so that it can go to a log: on one line, printable, not too long.
pub(crate) fn excerpt(text: &[u8]) -> String {
    // Four bytes a character at most, and some that are dropped.
    let text = String::from_utf8_lossy(&text[..text.len().min(EXCERPT * 8)]);
    let words = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn in_brackets(text: &str) -> String {
    match text {
        "" => String::new(),
        text => format!(" ({text})"),
    }
}

fn after_colon(text: &str) -> String {
    match text {
        "" => String::new(),
        text => format!(": {text}"),
    }
}

fn list(dirs: &[PathBuf]) -> String {
    let dirs = dirs.iter().map(|dir| dir.display().to_string());
    dirs.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn a_strangers_text_becomes_one_short_printable_line(bytes: Vec<u8>) {
            let line = excerpt(&bytes);
            prop_assert!(line.chars().count() <= EXCERPT + 1);
            prop_assert!(!line.chars().any(char::is_control));
        }
    }

    #[test]
    fn megabytes_are_cut() {
        assert_eq!(excerpt(&vec![b'x'; 1 << 20]).chars().count(), EXCERPT + 1);
    }
}
