//! Resource limits by their names in getrlimit(2).

use agent_api::v1;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files, soft and hard, where nobody says: what systemd gives its services.
const USUAL_FILES: (u64, u64) = (1024, 524_288);

/// What the kernel takes as "no limit".
const INFINITY: u64 = u64::MAX;

/// Why a limit could not be set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RlimitError {
    /// A name that Linux does not have.
    #[error("unknown resource limit {0:?}")]
    Unknown(String),
    /// The kernel refused.
    #[error("set {kind} to {soft}:{hard}")]
    Set {
        /// As asked for.
        kind: String,
        /// As asked for.
        soft: u64,
        /// As asked for.
        hard: u64,
        /// Why.
        source: rustix::io::Errno,
    },
}

/// Limits this process and what it becomes: as asked for, otherwise as a service of the host would be.
pub(crate) fn set_all(limits: &[v1::Rlimit]) -> Result<(), RlimitError> {
    // The agent's own limit is not for others: some programs close, or make room for, all the files
    // they might open.
    let usual = v1::Rlimit {
        kind: "RLIMIT_NOFILE".to_owned(),
        soft: USUAL_FILES.0,
        hard: getrlimit(Resource::Nofile)
            .maximum
            .unwrap_or(INFINITY)
            .min(USUAL_FILES.1),
    };
    set(&usual)?;
    limits.iter().try_for_each(set)
}

/// Lets this process open as many files as it may.
pub(crate) fn open_many_files() {
    let most = getrlimit(Resource::Nofile).maximum;
    // It works with fewer, for fewer containers.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: most,
            maximum: most,
        },
    );
}

/// In a guest nobody has set limits before us, and the kernel sizes some by the memory it began with.
pub(crate) fn lift_for_guest() {
    let files = Rlimit {
        current: Some(USUAL_FILES.1),
        maximum: Some(USUAL_FILES.1),
    };
    let none = Rlimit {
        current: None,
        maximum: None,
    };
    for (resource, limit) in [(Resource::Nofile, files), (Resource::Nproc, none)] {
        if let Err(error) = setrlimit(resource, limit) {
            tracing::warn!(?resource, %error, "limit not lifted");
        }
    }
}

fn set(limit: &v1::Rlimit) -> Result<(), RlimitError> {
    let resource = resource(&limit.kind).ok_or_else(|| RlimitError::Unknown(limit.kind.clone()))?;
    let bound = |value: u64| (value != INFINITY).then_some(value);
    let new = Rlimit {
        current: bound(limit.soft),
        maximum: bound(limit.hard),
    };
    setrlimit(resource, new).map_err(|source| RlimitError::Set {
        kind: limit.kind.clone(),
        soft: limit.soft,
        hard: limit.hard,
        source,
    })
}

fn resource(kind: &str) -> Option<Resource> {
    Some(match kind {
        "RLIMIT_AS" => Resource::As,
        "RLIMIT_CORE" => Resource::Core,
        "RLIMIT_CPU" => Resource::Cpu,
        "RLIMIT_DATA" => Resource::Data,
        "RLIMIT_FSIZE" => Resource::Fsize,
        "RLIMIT_LOCKS" => Resource::Locks,
        "RLIMIT_MEMLOCK" => Resource::Memlock,
        "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
        "RLIMIT_NICE" => Resource::Nice,
        "RLIMIT_NOFILE" => Resource::Nofile,
        "RLIMIT_NPROC" => Resource::Nproc,
        "RLIMIT_RSS" => Resource::Rss,
        "RLIMIT_RTPRIO" => Resource::Rtprio,
        "RLIMIT_RTTIME" => Resource::Rttime,
        "RLIMIT_SIGPENDING" => Resource::Sigpending,
        "RLIMIT_STACK" => Resource::Stack,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_linux_does_not_have_is_refused() {
        let limit = v1::Rlimit {
            kind: "RLIMIT_NOFILES".into(),
            soft: 1,
            hard: 1,
        };
        let error = set_all(&[limit]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown resource limit \"RLIMIT_NOFILES\""
        );
    }

    #[test]
    fn a_soft_limit_above_the_hard_one_is_refused() {
        let limit = v1::Rlimit {
            kind: "RLIMIT_CORE".into(),
            soft: 2,
            hard: 1,
        };
        let error = set_all(&[limit]).unwrap_err();
        assert_eq!(error.to_string(), "set RLIMIT_CORE to 2:1");
    }
}
