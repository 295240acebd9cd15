//! `target/node/<name>/`: everything that a running node has on this machine.

use crate::repository;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The node's kernel or its QEMU is gone: nobody's test result.
#[derive(Debug)]
pub(crate) struct Died {
    what: String,
    console_tail: String,
}

impl Died {
    /// Tells scripts a dead node from a command that failed in a live one. EX_SOFTWARE of sysexits.
    pub(crate) const EXIT_CODE: u8 = 70;
}

impl std::error::Error for Died {}

impl std::fmt::Display for Died {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, console_tail } = self;
        write!(
            f,
            "the node died: {what}; the end of its console:\n{console_tail}"
        )
    }
}

/// The files of one node, which may be up or not.
#[derive(Clone)]
pub(crate) struct RuntimeDir {
    path: PathBuf,
}

impl RuntimeDir {
    pub(crate) fn open(name: &str) -> Result<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(allowed) {
            bail!("node name {name:?}: use letters, digits, - and _");
        }
        Ok(Self {
            path: repository::target("node")?.join(name),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the directory new and empty.
    pub(crate) fn clear(&self) -> Result<()> {
        if self.path.exists() {
            fs::remove_dir_all(&self.path)
                .with_context(|| format!("remove {}", self.path.display()))?;
        }
        fs::create_dir_all(&self.path).with_context(|| format!("make {}", self.path.display()))
    }

    /// The QEMU of this node, if there is one. A stale pid file does not fool it: that QEMU has to
    /// have this directory as its working directory.
    fn qemu(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.file("qemu.pid")).ok()?;
        let pid = Pid::from_raw(text.trim().parse().ok()?)?;
        let cwd = fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero())).ok()?;
        (cwd == fs::canonicalize(&self.path).ok()?).then_some(pid)
    }

    pub(crate) fn name(&self) -> String {
        self.path
            .file_name()
            .expect("a name was joined")
            .to_string_lossy()
            .into_owned()
    }

    /// Whether there was an `up` without a `down` since.
    pub(crate) fn was_started(&self) -> bool {
        self.file("qemu.pid").exists()
    }

    /// What the node's kernel and init wrote so far.
    pub(crate) fn console(&self) -> String {
        let bytes = fs::read(self.file("console.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.qemu().is_some()
    }

    /// How much CPU time the node's QEMU has used (proc(5), utime and stime).
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        let pid = self.qemu()?.as_raw_nonzero();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        cpu_time(&stat)
    }

    /// Kills the node's QEMU. Fine when it is not up.
    pub(crate) fn down(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Some(pid) = self.qemu() {
            if Instant::now() > deadline {
                bail!("QEMU, process {}, does not die", pid.as_raw_nonzero());
            }
            // It may end by itself in between.
            let _ = kill_process(pid, Signal::KILL);
            sleep(Duration::from_millis(50));
        }
        // The console stays for whoever wants to know what happened.
        for name in ["qemu.pid", "products.erofs"] {
            let _ = fs::remove_file(self.file(name));
        }
        Ok(())
    }

    /// The error for a node found dead.
    pub(crate) fn died(&self, what: &str) -> Died {
        let qemu = fs::read_to_string(self.file("qemu.log")).unwrap_or_default();
        let text = self.console() + &qemu;
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(80)..].join("\n");
        Died {
            what: what.to_owned(),
            console_tail: tail,
        }
    }
}

/// Ticks per second as the kernel tells them to programs, on x86 whatever its own are (time(7)).
const USER_HZ: u64 = 100;

/// The CPU time in a text of `/proc/PID/stat`.
fn cpu_time(stat: &str) -> Option<Duration> {
    // The name of a process, in brackets, may have blanks and brackets in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let mut ticks = || times.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    Some(Duration::from_millis(ticks * 1000 / USER_HZ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_a_nasty_name_has_a_cpu_time() {
        let stat = "7 (q) 1 (2) S 1 7 7 0 -1 4194560 9 0 0 0 250 50 3 4 20 0 1 0 5";
        assert_eq!(cpu_time(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu_time("7 (q"), None);
    }
}
