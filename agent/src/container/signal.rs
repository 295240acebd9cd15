//! Signals to a container, and its end by force.

use std::time::Duration;

use rustix::process::{Signal, pidfd_send_signal};

use super::Container;
use super::state::State;
use crate::Error;

/// How long a killed container may take to be gone, its output in the log.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The container's first process.
    First,
    /// Every process in it.
    All,
}

impl Container {
    /// Sends a signal. One that has ended already needs none, and that is no error.
    pub(crate) fn signal(&self, number: u32, whom: Whom) -> Result<(), Error> {
        let signal = parse(number)?;
        match (self.state(), whom) {
            (State::Exited { .. }, _) => Ok(()),
            (_, Whom::All) if signal == Signal::KILL => Ok(self.cgroup.kill()?),
            // It has no handlers yet, and as PID 1 it would not even feel most signals.
            (State::Created, _) if ends(signal) => Ok(self.cgroup.kill()?),
            // By their numbers, which others may have by then, it would be anybody's.
            (_, Whom::All) => Err(Error::Invalid(
                "only SIGKILL can be sent to all of a container".to_owned(),
            )),
            (_, Whom::First) => match pidfd_send_signal(&self.pidfd, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
                Err(error) => Err(Error::Io {
                    doing: "signal the container",
                    source: error.into(),
                }),
            },
        }
    }

    /// Kills everything in it and waits until it has ended.
    pub(crate) async fn kill_and_wait(&self) -> Result<(), Error> {
        if !matches!(self.state(), State::Exited { .. }) {
            self.cgroup.kill()?;
        }
        tokio::time::timeout(GONE_WITHIN, self.exited())
            .await
            .map(drop)
            .map_err(|_| Error::Unkillable {
                id: self.id.clone(),
            })
    }
}

fn ends(signal: Signal) -> bool {
    [
        Signal::TERM,
        Signal::INT,
        Signal::QUIT,
        Signal::HUP,
        Signal::KILL,
    ]
    .contains(&signal)
}

/// Real-time signals are what some images ask to be stopped by.
fn parse(number: u32) -> Result<Signal, Error> {
    i32::try_from(number)
        .ok()
        .filter(|number| (1..=64).contains(number))
        .map(crate::sys::signals::by_number)
        .ok_or_else(|| Error::Invalid(format!("there is no signal {number}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_that_linux_has_is_a_signal() {
        assert_eq!(parse(15).unwrap(), Signal::TERM);
        // SIGRTMIN+3, which ends systemd.
        assert_eq!(parse(37).unwrap().as_raw(), 37);
        for number in [0, 65, u32::MAX] {
            assert!(parse(number).is_err(), "{number}");
        }
    }
}
