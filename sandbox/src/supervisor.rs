//! A pod's process of ours, its agent or its VMM: started, or found again after a restart of ours.
//!
//! It is told apart from whoever got its pid later by the time at which it started, and it holds a
//! lock that the kernel drops when it dies. Its end is seen through a pidfd, which needs no parenthood.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, pidfd_send_signal,
    waitid,
};
use serde::{Deserialize, Serialize};

mod lock;
mod log_file;
mod spawn;

pub(crate) use lock::{holder, is_held, take};
pub(crate) use log_file::{LogFile, last_bytes};

use crate::cgroup::PodCgroup;
use crate::readiness::Readiness;
use crate::{Error, Kind, Result};

/// What is started, and with what.
pub(crate) struct Launch<'a> {
    /// The program.
    pub(crate) program: &'a Path,
    /// Its arguments, without its name.
    pub(crate) args: Vec<OsString>,
    /// Descriptors that it finds as 3, 4 and so on.
    pub(crate) descriptors: Vec<BorrowedFd<'a>>,
    /// Where its output and its log lines go.
    pub(crate) output: BorrowedFd<'a>,
    /// Whose leaf it is moved to.
    pub(crate) cgroup: &'a PodCgroup,
    /// How willingly the kernel kills it for want of memory, -1000 to 1000.
    pub(crate) oom_score_adj: i32,
}

/// A pod's process.
#[derive(Debug)]
pub(crate) struct Supervisor {
    saved: Saved,
    pidfd: Readiness,
}

/// What finds it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) pid: u32,
    /// In clock ticks since the boot of the node.
    start_time: u64,
    /// The lock that it holds for its life.
    lock: PathBuf,
}

impl Supervisor {
    /// Starts it in a session of its own and moves it into its cgroup. On failure it is dead.
    pub(crate) fn start(launch: &Launch<'_>, lock: PathBuf) -> Result<Self> {
        let starting = || format!("start {}", launch.program.display());
        let pid = spawn::spawn(launch).map_err(|e| Error::io(starting(), e))?;
        let started = Self::open(pid, lock).map_err(|e| Error::io(starting(), e))?;
        let placed = launch
            .cgroup
            .adopt_supervisor(pid)
            .and_then(|()| started.set_oom_score_adj(launch.oom_score_adj));
        if let Err(error) = placed {
            started.kill();
            let _ = waitid(WaitId::PidFd(started.pidfd.as_fd()), WaitIdOptions::EXITED);
            return Err(error);
        }
        Ok(started)
    }

    /// Finds it again; `None` means that it died meanwhile.
    pub(crate) fn adopt(saved: &Saved) -> Result<Option<Self>> {
        if !is_held(&saved.lock)? {
            return Ok(None);
        }
        match Self::open(saved.pid, saved.lock.clone()) {
            Ok(found) if found.saved == *saved => Ok(Some(found)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                Ok(None)
            }
            Err(error) => Err(Error::io(format!("find process {}", saved.pid), error)),
        }
    }

    fn open(pid: u32, lock: PathBuf) -> io::Result<Self> {
        let pidfd = pidfd_open(as_pid(pid)?, PidfdFlags::NONBLOCK)?;
        // Read after the pidfd was opened: from then on the number can't go to another process unseen.
        let start_time = start_time(pid)?;
        Ok(Self {
            saved: Saved {
                pid,
                start_time,
                lock,
            },
            pidfd: Readiness::of(pidfd)?,
        })
    }

    /// What finds it again after a restart of ours.
    pub(crate) fn saved(&self) -> &Saved {
        &self.saved
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.saved.pid
    }

    /// A descriptor that stands for it, whoever gets its number later.
    pub(crate) fn try_clone_pidfd(&self) -> Result<OwnedFd> {
        let cloned = self.pidfd.as_fd().try_clone_to_owned();
        cloned.map_err(|e| Error::io(format!("find process {}", self.pid()), e))
    }

    /// Resolves when it is dead, with how it ended where that is known and wasn't told before.
    pub(crate) async fn wait(&self) -> String {
        // The only error is that the runtime is being shut down, and then nobody reads the answer.
        let _ = self.pidfd.readable().await;
        let status = waitid(
            WaitId::PidFd(self.pidfd.as_fd()),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        );
        match status {
            Ok(Some(status)) => ending(&status),
            // It isn't our child: we were restarted since.
            Ok(None) | Err(_) => "ended".to_owned(),
        }
    }

    /// Kills it; a dead one is fine.
    pub(crate) fn kill(&self) {
        if let Err(error) = pidfd_send_signal(&self.pidfd, Signal::KILL)
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(pid = self.pid(), %error, "a supervisor can't be killed");
        }
    }

    /// Ends it and takes note of its end, so that the kernel need not keep that for us.
    pub(crate) async fn bury(self) {
        self.kill();
        self.wait().await;
    }

    /// Says how willingly the kernel kills it for want of memory.
    pub(crate) fn set_oom_score_adj(&self, score: i32) -> Result<()> {
        let path = format!("/proc/{}/oom_score_adj", self.pid());
        fs::write(&path, score.to_string()).map_err(|e| Error::io(format!("write {path}"), e))
    }
}

/// Kills whoever holds the lock at `path`, for leftovers of which no pid was written down.
pub(crate) fn kill_holder(path: &Path) -> Result<()> {
    if !is_held(path)? {
        return Ok(());
    }
    let Some(pid) = holder(path) else {
        let doing = format!("find who holds {}", path.display());
        return Err(Error::new(Kind::Internal, doing));
    };
    let killed = as_pid(pid).and_then(|pid| Ok(rustix::process::kill_process(pid, Signal::KILL)?));
    killed.map_err(|e| Error::io(format!("kill process {pid}"), e))
}

fn as_pid(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Field 22 of `/proc/<pid>/stat`. The second field may hold anything but ends with the last bracket.
fn start_time(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    stat.rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(19))
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn ending(status: &WaitIdStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Opens `/dev/null`, for who is given no input.
fn null() -> io::Result<File> {
    File::open("/dev/null")
}

#[cfg(test)]
mod tests;
