//! What a pod uses, read from its cgroup.

use std::io;
use std::time::SystemTime;

use super::{PodCgroup, SUPERVISOR};
use crate::{Error, Result, SandboxStats};

impl PodCgroup {
    /// What everything in it uses.
    pub fn stats(&self) -> Result<SandboxStats> {
        let read = || -> io::Result<SandboxStats> {
            let usage = number(&self.read("memory.current")?);
            let inactive = keyed(&self.read("memory.stat")?, "inactive_file");
            Ok(SandboxStats {
                at: SystemTime::now(),
                cpu_usage_ns: keyed(&self.read("cpu.stat")?, "usage_usec").saturating_mul(1000),
                memory_usage_bytes: usage,
                memory_working_set_bytes: usage.saturating_sub(inactive),
                pids: number(&self.read("pids.current")?),
            })
        };
        read().map_err(|e| Error::io(format!("read stats of cgroup {}", self.path()), e))
    }
}

impl PodCgroup {
    /// Whether the kernel killed the supervisor because a limit of memory was reached. That of a container's
    /// processes is no reason for the supervisor to end.
    pub fn supervisor_ran_out_of_memory(&self) -> bool {
        let events = format!("{SUPERVISOR}/memory.events");
        let events = self.read(&events).unwrap_or_default();
        keyed(&events, "oom_kill") > 0
    }
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

/// The value of `key` in lines of `key value`.
fn keyed(text: &str, key: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .map_or(0, |(_, value)| number(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_whole_key() {
        let stat = "anon 1\ninactive_file_x 2\ninactive_file 4096\n";
        assert_eq!(keyed(stat, "inactive_file"), 4096);
        assert_eq!(keyed(stat, "file"), 0);
    }
}
