//! Which plugins run, told on disk, so that the next process can end those that outlive this one.
//!
//! A process that is killed leaves its plugins running. One of them may give an address to a container that the
//! next process has undone already, and nobody would ever give it back. So each run has a name, which
//! the plugin and all that it starts have in their environment, and a file of that name while it lasts.
//! What a plugin leaves running on purpose is no run any more once the plugin has ended.

use std::collections::{BTreeSet, HashSet};
use std::fs::{DirBuilder, DirEntry, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{
    Pid, PidfdFlags, Signal, getpgid, kill_process_group, pidfd_open, pidfd_send_signal,
};
use tracing::{error, warn};

use crate::error::Error;

/// Whose value in a plugin's environment is the name of its run.
pub(crate) const VARIABLE: &str = "CNI_RUNTIME_RUN";

/// A killed process that does not go away (in uninterruptible sleep) is left after so long.
const REAP: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);
/// Of an environment: what has more is none of a plugin.
const MOST_BYTES: u64 = 1 << 20;

/// The runs of one owner.
#[derive(Debug)]
pub(crate) struct Runs {
    dir: PathBuf,
    /// In no name that an earlier process gave.
    prefix: String,
    begun: AtomicU64,
}

/// A run that lasts until this is dropped.
#[derive(Debug)]
pub(crate) struct Run {
    file: PathBuf,
    pub(crate) name: String,
}

impl Drop for Run {
    fn drop(&mut self) {
        std::fs::remove_file(&self.file).ok();
    }
}

impl Runs {
    /// Those of `owner`, beside its records. What is left of earlier processes' is killed first. Blocks.
    pub(crate) fn open(cache_dir: &Path, owner: &str) -> Result<Self, Error> {
        let dir = cache_dir.join(format!(".cni-running-{owner}"));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|source| Error::Record {
            doing: "make the directory of running plugins beside",
            path: dir.clone(),
            source,
        })?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_nanos());
        let runs = Self {
            dir,
            prefix: format!("{}-{now}", std::process::id()),
            begun: AtomicU64::new(0),
        };
        runs.end_earlier().map_err(|source| Error::Record {
            doing: "look for plugins of an earlier process by",
            path: runs.dir.clone(),
            source,
        })?;
        Ok(runs)
    }

    /// Begins one. A plugin is run all the same where there is no room for its name: to undo something
    /// may be what makes room.
    pub(crate) fn begin(&self) -> Option<Run> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", self.prefix);
        let file = self.dir.join(&name);
        match File::create_new(&file) {
            Ok(_) => Some(Run { file, name }),
            Err(error) => {
                warn!(?file, %error, "CNI plugin is run without a note of it");
                None
            }
        }
    }

    /// Kills what earlier processes' runs left, and waits until it is gone. Where it does not go, its
    /// files stay, and the next start tries again.
    fn end_earlier(&self) -> io::Result<()> {
        let names = self.names()?;
        if !names.is_empty() && all_end(&names)? {
            for name in names {
                std::fs::remove_file(self.dir.join(name)).ok();
            }
        }
        Ok(())
    }

    fn names(&self) -> io::Result<BTreeSet<String>> {
        let entries = std::fs::read_dir(&self.dir)?;
        let name = |entry: io::Result<DirEntry>| entry.ok()?.file_name().into_string().ok();
        Ok(entries.filter_map(name).collect())
    }
}

/// Kills the processes of these runs. Whether all of them are gone then.
fn all_end(names: &BTreeSet<String>) -> io::Result<bool> {
    let (begun, mut told) = (Instant::now(), HashSet::new());
    loop {
        let outlived = outlived(names)?;
        if outlived.is_empty() {
            return Ok(true);
        }
        if begun.elapsed() > REAP {
            let pids = outlived.iter().map(|process| process.pid);
            let pids: Vec<_> = pids.map(Pid::as_raw_nonzero).collect();
            error!(
                ?pids,
                "CNI plugins of an earlier process can't be killed: they may still give out addresses"
            );
            return Ok(false);
        }
        for process in outlived {
            process.end(&mut told);
        }
        sleep(PAUSE);
    }
}

/// The living processes of these runs.
fn outlived(names: &BTreeSet<String>) -> io::Result<Vec<Outlived>> {
    let entries = std::fs::read_dir("/proc")?;
    let pid = |entry: io::Result<DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    let pids = entries.filter_map(pid).filter_map(Pid::from_raw);
    Ok(pids.filter_map(|pid| Outlived::find(pid, names)).collect())
}

/// A process of a run whose beginner is gone.
struct Outlived {
    pid: Pid,
    process: OwnedFd,
    /// As its environment has them.
    command: String,
    container_id: String,
}

impl Outlived {
    fn find(pid: Pid, names: &BTreeSet<String>) -> Option<Self> {
        // First, so that whatever gets the number later is not what is killed.
        let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let environment = environment(pid).ok()?;
        let value = |key: &str| {
            let mut entries = environment.split(|byte| *byte == 0);
            let value =
                entries.find_map(|entry| entry.strip_prefix(key.as_bytes())?.strip_prefix(b"="));
            value.map(|value| String::from_utf8_lossy(value).into_owned())
        };
        names.contains(&value(VARIABLE)?).then(|| Self {
            pid,
            process,
            command: value("CNI_COMMAND").unwrap_or_default(),
            container_id: value("CNI_CONTAINERID").unwrap_or_default(),
        })
    }

    fn end(&self, told: &mut HashSet<Pid>) {
        if told.insert(self.pid) {
            let (pid, command) = (self.pid.as_raw_nonzero(), &self.command);
            let container_id = &self.container_id;
            warn!(
                pid,
                command, container_id, "CNI plugin of an earlier process is killed"
            );
        }
        // The plugin itself leads a group. It is alive, so the number is that group's still.
        if getpgid(Some(self.pid)) == Ok(self.pid) {
            kill_process_group(self.pid, Signal::KILL).ok();
        }
        pidfd_send_signal(&self.process, Signal::KILL).ok();
    }
}

/// Empty for a process that has ended and is not waited for yet.
fn environment(pid: Pid) -> io::Result<Vec<u8>> {
    let file = File::open(format!("/proc/{}/environ", pid.as_raw_nonzero()))?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}
