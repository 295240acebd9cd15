//! Counts of what plugins did, for metrics.

use std::time::Duration;

use parking_lot::Mutex;

use crate::error::Failure;
use crate::exec::Command;

/// What came of one command over all plugins, since this process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandStats {
    /// How often a plugin was run.
    pub runs: u64,
    /// How many of these failed, those that took too long included.
    pub failures: u64,
    /// How many of these took too long.
    pub timeouts: u64,
    /// How long all of them took together.
    pub took: Duration,
}

/// All commands.
pub(crate) const COMMANDS: [Command; 6] = [
    Command::Add,
    Command::Del,
    Command::Check,
    Command::Status,
    Command::Gc,
    Command::Version,
];

#[derive(Debug, Default)]
pub(crate) struct Counters {
    by_command: Mutex<[CommandStats; COMMANDS.len()]>,
}

impl Counters {
    pub(crate) fn count(&self, command: Command, took: Duration, failure: Option<&Failure>) {
        // The order of `COMMANDS` is that of the declaration.
        let stats = &mut self.by_command.lock()[command as usize];
        stats.runs += 1;
        stats.took += took;
        stats.failures += u64::from(failure.is_some());
        stats.timeouts += u64::from(matches!(failure, Some(Failure::TimedOut(_))));
    }

    pub(crate) fn read(&self) -> [(Command, CommandStats); COMMANDS.len()] {
        let stats = *self.by_command.lock();
        std::array::from_fn(|index| (COMMANDS[index], stats[index]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_counted_as_itself() {
        let counters = Counters::default();
        for command in COMMANDS {
            counters.count(command, Duration::from_secs(1), None);
        }
        let late = Failure::TimedOut(Duration::ZERO);
        counters.count(Command::Gc, Duration::from_secs(1), Some(&late));
        for (command, stats) in counters.read() {
            let more = u64::from(command == Command::Gc);
            assert_eq!(
                (stats.runs, stats.failures, stats.timeouts),
                (1 + more, more, more)
            );
        }
    }
}
