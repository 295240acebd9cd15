//! Why a stage-1 job failed.

use rustix::io::Errno;
use tonic::Code;

use crate::container::capabilities::CredentialsError;
use crate::container::lsm::LsmError;
use crate::container::mounts::MountError;
use crate::container::namespaces::NamespaceError;
use crate::container::rlimits::RlimitError;
use crate::container::tty::TtyError;
use crate::container::user::UserError;
use crate::sys::seccomp::NotAFilter;

/// Why a stage-1 job failed. What names a step of its own is shown as that step.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("hide from other processes")]
    Hide(#[source] Errno),
    #[error("receive the job")]
    Receive(#[source] std::io::Error),
    #[error("the job is empty")]
    NoJob,
    #[error("the job has no {0}")]
    Incomplete(&'static str),
    #[error("talk to the agent")]
    Tell(#[source] Errno),
    #[error("create the process")]
    Clone(#[source] Errno),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    User(#[from] UserError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Rlimit(#[from] RlimitError),
    #[error(transparent)]
    Lsm(#[from] LsmError),
    #[error(transparent)]
    Tty(#[from] TtyError),
    #[error("set up the process's {0}")]
    Stdio(&'static str, #[source] Errno),
    #[error("set oom_score_adj to {0}")]
    OomScore(i32, #[source] std::io::Error),
    #[error("read the seccomp program")]
    NotAFilter(#[from] NotAFilter),
    #[error("install the seccomp filter")]
    Seccomp(#[source] Errno),
    #[error("rule out new privileges")]
    NoNewPrivileges(#[source] Errno),
    #[error("lead a session")]
    Session(#[source] Errno),
    #[error("leave the host's keyring")]
    Keyring(#[source] Errno),
    #[error("enter working directory {path:?}")]
    Cwd { path: String, source: Errno },
    #[error("the working directory is outside of the container")]
    CwdOutside,
    #[error("an argument or a variable contains a NUL byte")]
    Nul,
    #[error("there is no program to execute")]
    NoArgs,
    #[error("exec {program:?}: {}", explained(*.errno, *.found))]
    Exec {
        program: String,
        errno: Errno,
        /// The file itself is there.
        found: bool,
    },
}

impl Error {
    /// Whose mistake it was: the caller's, this machine's, or ours.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Exec {
                errno: Errno::NOMEM | Errno::AGAIN,
                ..
            } => Code::ResourceExhausted,
            Self::Exec { .. }
            | Self::NoArgs
            | Self::Nul
            | Self::CwdOutside
            | Self::NotAFilter(_)
            | Self::Seccomp(Errno::INVAL | Errno::FAULT)
            | Self::Rlimit(_)
            | Self::OomScore(..)
            | Self::Cwd { .. } => Code::InvalidArgument,
            Self::User(UserError::Read { .. }) => Code::Internal,
            Self::User(_) => Code::InvalidArgument,
            Self::Lsm(_) => Code::InvalidArgument,
            Self::Mount(error) if error.is_invalid() => Code::InvalidArgument,
            Self::Namespace(NamespaceError::Sysctl { .. } | NamespaceError::Hostname { .. }) => {
                Code::InvalidArgument
            }
            // The container's first process is gone.
            Self::Namespace(NamespaceError::Join(_, Errno::SRCH)) => Code::FailedPrecondition,
            Self::Clone(Errno::AGAIN | Errno::NOMEM) => Code::ResourceExhausted,
            _ => Code::Internal,
        }
    }
}

/// execve's error numbers in the words that people search for.
fn explained(errno: Errno, found: bool) -> String {
    match errno {
        Errno::NOENT if found => {
            "no such file or directory (the file is there; its interpreter or loader is not)".into()
        }
        Errno::NOENT => "no such file or directory".into(),
        Errno::ACCESS => "permission denied".into(),
        Errno::NOEXEC => "exec format error (built for another CPU, or a script without #!)".into(),
        Errno::NOTDIR => "not a directory".into(),
        Errno::ISDIR => "is a directory".into(),
        Errno::TOOBIG => "argument list too long".into(),
        other => other.to_string().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(errno: Errno, found: bool, expected: &str) {
        let error = Error::Exec {
            program: "foo".into(),
            errno,
            found,
        };
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_missing_program_is_told_from_a_missing_loader() {
        check(
            Errno::NOENT,
            false,
            "exec \"foo\": no such file or directory",
        );
        check(Errno::ACCESS, true, "exec \"foo\": permission denied");
        check(
            Errno::NOENT,
            true,
            "exec \"foo\": no such file or directory (the file is there; its interpreter or loader is not)",
        );
    }
}
