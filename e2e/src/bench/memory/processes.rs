//! Memory of the processes that stand between a server and the containers.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Supervisors of pods by the kernel's name for them, which has 15 bytes at most.
const SUPERVISORS: [&str; 3] = ["bulkhead-agent", "bulkhead-vmm", "containerd-shim"];

/// What the pause image of the tests runs.
const PAUSE: &[u8] = b"sleep\0infinity\0";

/// Memory of some processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Bytes, a page that n processes share counting as an n-th.
    pub(super) pss: u64,
    /// Bytes, a shared page counting in full.
    pub(super) rss: u64,
    /// How many processes.
    pub(super) processes: usize,
}

impl Usage {
    /// That of one process.
    pub(super) fn of_process(pid: u32) -> Result<Self> {
        Self::read(&Path::new("/proc").join(pid.to_string()))
    }

    /// That of all supervisors of pods in the node, pause containers among them.
    pub(super) fn of_supervisors() -> Result<Self> {
        let mut sum = Self::default();
        for entry in fs::read_dir("/proc").context("list processes")? {
            let path = entry?.path();
            // A process that has ended meanwhile needs no memory.
            if supervises(&path)
                && let Ok(usage) = Self::read(&path)
            {
                sum.pss += usage.pss;
                sum.rss += usage.rss;
                sum.processes += usage.processes;
            }
        }
        Ok(sum)
    }

    fn read(process: &Path) -> Result<Self> {
        let path = process.join("smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("understand {}", path.display()))
    }

    fn parse(smaps: &str) -> Option<Self> {
        Some(Self {
            pss: kib_of(smaps, "Pss:")?,
            rss: kib_of(smaps, "Rss:")?,
            processes: 1,
        })
    }
}

fn supervises(process: &Path) -> bool {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    SUPERVISORS.contains(&name.trim_end())
        || fs::read(process.join("cmdline")).is_ok_and(|command| command == PAUSE)
}

/// Bytes of the line `<key>  <n> kB`.
pub(super) fn kib_of(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let smaps = "55d0-7ffe ---p 00000000 00:00 0 [rollup]\nRss:    1024 kB\nPss:     512 kB\n\
                     Pss_Anon:  64 kB\n";
        let usage = Usage {
            pss: 512 << 10,
            rss: 1 << 20,
            processes: 1,
        };
        assert_eq!(Usage::parse(smaps), Some(usage));
        assert_eq!(Usage::parse("Rss: 1 kB\n"), None);
    }
}
