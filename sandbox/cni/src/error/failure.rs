//! How a plugin fails.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use super::Kind;
use crate::exec::Command;

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

    pub(super) fn kind(&self) -> Kind {
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
