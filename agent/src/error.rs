//! Why a request was not carried out, and which gRPC code says so. The only file that maps codes.

use tonic::{Code, Status};

use crate::container::cgroup::CgroupError;
use crate::container::devices::DeviceError;
use crate::container::state::Denied;
use crate::events::Forgotten;
use crate::guest::GuestError;
use crate::log::LogError;
use crate::spawn::SpawnError;

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no container {0:?}")]
    NoContainer(String),
    #[error("container {0:?} already exists")]
    ContainerExists(String),
    #[error("container {0:?} is being created or removed")]
    Busy(String),
    #[error("container {id:?}")]
    Denied { id: String, source: Denied },
    #[error("the sandbox is not configured yet")]
    NotConfigured,
    #[error("the sandbox is configured already, and differently")]
    ConfiguredDifferently,
    #[error("{0} can only be done {1}")]
    NotInThisMode(&'static str, &'static str),
    #[error("{0}")]
    Invalid(String),
    #[error("the request has no {0}")]
    Missing(&'static str),
    #[error("start container {id:?}")]
    Start { id: String, source: SpawnError },
    #[error("container {id:?} was killed and does not end")]
    Unkillable { id: String },
    #[error("the pod's PID namespace is gone")]
    NoPidOne,
    #[error("the client does not read fast enough")]
    Lagged,
    #[error("connect to port {port} of the pod")]
    Dial { port: u32, source: std::io::Error },
    #[error("{doing}")]
    Io {
        doing: &'static str,
        source: std::io::Error,
    },
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Guest(#[from] GuestError),
    #[error(transparent)]
    Forgotten(#[from] Forgotten),
    #[error("the agent gave the request up")]
    GaveUp,
}

impl Error {
    fn code(&self) -> Code {
        match self {
            Self::NoContainer(_) => Code::NotFound,
            Self::ContainerExists(_) | Self::ConfiguredDifferently => Code::AlreadyExists,
            Self::Busy(_) | Self::Denied { .. } | Self::NotConfigured | Self::NoPidOne => {
                Code::FailedPrecondition
            }
            Self::NotInThisMode(..) | Self::Log(LogError::NotOurs) => Code::Unimplemented,
            Self::Invalid(_) | Self::Missing(_) | Self::Device(_) => Code::InvalidArgument,
            Self::Start { source, .. } | Self::Spawn(source) => source.code(),
            Self::Cgroup(error) if error.is_invalid() => Code::InvalidArgument,
            Self::Unkillable { .. } => Code::DeadlineExceeded,
            Self::Lagged => Code::ResourceExhausted,
            Self::Dial { .. } => Code::Unavailable,
            Self::Guest(error) => error.code(),
            Self::Forgotten(_) => Code::OutOfRange,
            Self::Cgroup(_) | Self::Log(_) | Self::Io { .. } | Self::GaveUp => Code::Internal,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Self::new(error.code(), crate::chain(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_the_chain_of_causes() {
        let source = SpawnError::Failed {
            code: Code::InvalidArgument,
            message: "exec \"foo\": no such file or directory".into(),
        };
        let status = Status::from(Error::Start {
            id: "c1".into(),
            source,
        });
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(
            status.message(),
            "start container \"c1\": exec \"foo\": no such file or directory"
        );
    }
}
