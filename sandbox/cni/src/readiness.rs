//! Whether the network is ready, in two phases.
//!
//! ```text
//!            seen well                 seen ill
//! Waiting ───────────────▶ Up ─────────────────────────▶ Doubtful
//!    ▲                      ▲        seen well               │ still ready
//!    │                      └────────────────────────────────┤
//!    └───────────────────────────────────────────────────────┘ seen ill for longer than the grace
//! ```
//!
//! Before it was ready once, it is looked at often, and every reason is told at once. Afterwards a
//! network plugin's own restart, which takes some seconds, must not make the whole node unready.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::network_config::NetworkConfig;
use crate::version::SpecVersion;

/// Whether attachments can be made, as last seen. Reading it runs no plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They can.
    Ready {
        /// The name of the network.
        network: String,
        /// The version of CNI that it is run with.
        version: SpecVersion,
        /// Where its configuration is from.
        file: PathBuf,
        /// What is wrong since a few seconds; it may pass.
        doubt: Option<String>,
    },
    /// They can't.
    NotReady {
        /// Why, for an operator.
        reason: String,
    },
}

impl Readiness {
    /// Whether attachments can be made.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready { .. })
    }
}

impl std::fmt::Display for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ready {
                network,
                version,
                file,
                doubt,
            } => {
                let file = file.display();
                write!(f, "network {network} of {file}, CNI {version}")?;
                match doubt {
                    Some(doubt) => write!(f, "; for the moment: {doubt}"),
                    None => Ok(()),
                }
            }
            Self::NotReady { reason } => f.write_str(reason),
        }
    }
}

/// A network that was seen well.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) config: NetworkConfig,
    pub(crate) file: PathBuf,
}

/// What is known after some looks.
#[derive(Clone, Debug)]
pub(crate) enum ReadinessState {
    Waiting {
        reason: String,
    },
    Up {
        found: Arc<Found>,
    },
    Doubtful {
        found: Arc<Found>,
        since: Instant,
        reason: String,
    },
}

/// How long a network that was ready may be seen ill.
pub(crate) const GRACE: Duration = Duration::from_secs(15);
/// Between looks while something is wrong.
const OFTEN: Duration = Duration::from_secs(1);
/// Between looks at a network that can be asked for its status.
const SELDOM: Duration = Duration::from_secs(10);
/// Between looks at one that can't: only its files matter, and they are watched.
const RARELY: Duration = Duration::from_secs(30);

impl ReadinessState {
    pub(crate) fn new() -> Self {
        Self::Waiting {
            reason: "networks were not looked at yet".into(),
        }
    }

    /// The state after a look at `now` that found a network, or a reason why there is none.
    pub(crate) fn apply(self, seen: Result<Arc<Found>, String>, now: Instant) -> Self {
        match (seen, self) {
            (Ok(found), _) => Self::Up { found },
            (Err(reason), Self::Waiting { .. }) => Self::Waiting { reason },
            (Err(reason), Self::Up { found }) => Self::Doubtful {
                found,
                since: now,
                reason,
            },
            (Err(reason), Self::Doubtful { since, .. }) if now >= since + GRACE => {
                Self::Waiting { reason }
            }
            (Err(reason), Self::Doubtful { found, since, .. }) => Self::Doubtful {
                found,
                since,
                reason,
            },
        }
    }

    /// How long to wait for the next look.
    pub(crate) fn pause(&self) -> Duration {
        match self {
            Self::Up { found } if found.config.version() >= SpecVersion::V1_1_0 => SELDOM,
            Self::Up { .. } => RARELY,
            _ => OFTEN,
        }
    }

    /// The network to attach to.
    pub(crate) fn found(&self) -> Option<&Arc<Found>> {
        match self {
            Self::Waiting { .. } => None,
            Self::Up { found } | Self::Doubtful { found, .. } => Some(found),
        }
    }

    pub(crate) fn readiness(&self) -> Readiness {
        let ready = |found: &Found, doubt: Option<&String>| Readiness::Ready {
            network: found.config.name.clone(),
            version: found.config.version(),
            file: found.file.clone(),
            doubt: doubt.cloned(),
        };
        match self {
            Self::Waiting { reason } => Readiness::NotReady {
                reason: reason.clone(),
            },
            Self::Up { found } => ready(found, None),
            Self::Doubtful { found, reason, .. } => ready(found, Some(reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Result<Arc<Found>, String> {
        let json = br#"{"cniVersion": "1.0.0", "name": "net", "type": "a"}"#;
        let config = NetworkConfig::parse(json).unwrap();
        let file = "/etc/cni/net.d/10-net.conf".into();
        Ok(Arc::new(Found { config, file }))
    }

    /// Applies looks at seconds from a beginning; an empty reason means that all was well.
    #[track_caller]
    fn check(looks: &[(u64, &str)], words: &str) {
        let begin = Instant::now();
        let mut state = ReadinessState::new();
        for (second, reason) in looks {
            let seen = match *reason {
                "" => well(),
                reason => Err(reason.to_owned()),
            };
            state = state.apply(seen, begin + Duration::from_secs(*second));
        }
        assert_eq!(state.readiness().to_string(), words);
        assert_eq!(state.found().is_some(), state.readiness().is_ready());
    }

    const READY: &str = "network net of /etc/cni/net.d/10-net.conf, CNI 1.0.0";

    #[test]
    fn before_it_was_ready_every_reason_is_told_at_once() {
        check(&[], "networks were not looked at yet");
        check(&[(0, "no file"), (1, "no plugin")], "no plugin");
        check(&[(0, "no file"), (1, "")], READY);
    }

    #[test]
    fn a_short_illness_is_a_doubt_only() {
        let doubt = format!("{READY}; for the moment: restarting");
        check(&[(0, ""), (1, "down"), (14, "restarting")], &doubt);
        check(&[(0, ""), (1, "down"), (14, "")], READY);
        check(
            &[
                (0, ""),
                (1, "down"),
                (14, ""),
                (17, "down"),
                (31, "restarting"),
            ],
            &doubt,
        );
    }

    #[test]
    fn a_long_illness_makes_it_unready_with_the_last_reason() {
        check(&[(0, ""), (1, "down"), (9, "down"), (16, "gone")], "gone");
    }
}
