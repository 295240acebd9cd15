//! What processes of ours hold: memory, descriptors, threads.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The kernel's names for our programs that run for long.
const NAMES: [&str; 4] = ["bulkhead", "bulkhead-agent", "bulkhead-vmm", "bulkhead-fsd"];

/// The one whose memory is mostly its guest's.
const VMM: &str = "bulkhead-vmm";

/// A process of ours.
#[derive(Clone, Debug)]
pub struct Process {
    /// The kernel's name for it.
    pub name: String,
    directory: PathBuf,
}

/// The server, and supervisors of pods.
pub fn ours() -> Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("list processes")? {
        let directory = entry?.path();
        // One that has ended meanwhile holds nothing.
        let Ok(name) = fs::read_to_string(directory.join("comm")) else {
            continue;
        };
        let name = name.trim_end().to_owned();
        if NAMES.contains(&name.as_str()) {
            found.push(Process { name, directory });
        }
    }
    Ok(found)
}

impl Process {
    /// Bytes of memory that belong to it alone and to no file; those of a guest are not among them.
    pub fn private_memory(&self) -> Result<u64> {
        self.memory("RssAnon:")
    }

    /// The most memory that it has had at once since [`Self::forget_peak`], in bytes. `None` for a VMM:
    /// its guest's memory is part of it.
    pub fn peak_memory(&self) -> Result<Option<u64>> {
        if self.name == VMM {
            return Ok(None);
        }
        self.memory("VmHWM:").map(Some)
    }

    /// Makes the memory that it has now its peak.
    pub fn forget_peak(&self) -> Result<()> {
        let path = self.directory.join("clear_refs");
        // proc(5): 5 resets the peak.
        fs::write(&path, "5").with_context(|| format!("write {}", path.display()))
    }

    /// Descriptors that it has open.
    pub fn descriptors(&self) -> Result<usize> {
        count(&self.directory.join("fd"))
    }

    /// Threads that it has.
    pub fn threads(&self) -> Result<usize> {
        count(&self.directory.join("task"))
    }

    fn memory(&self, key: &str) -> Result<u64> {
        let path = self.directory.join("status");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let Some(kib) = number(&text, key) else {
            bail!("{} has no {key}", path.display());
        };
        Ok(kib * 1024)
    }
}

fn count(directory: &Path) -> Result<usize> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    Ok(entries.count())
}

/// The number in the line that begins with `key`.
fn number(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let status = "Name:\tbulkhead\nVmHWM:\t   20480 kB\nRssAnon:\t    4096 kB\n";
        assert_eq!(number(status, "VmHWM:"), Some(20480));
        assert_eq!(number(status, "RssAnon:"), Some(4096));
        assert_eq!(number(status, "VmSwap:"), None);
    }
}
