//! Starts stage-1 processes and follows what they report.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tonic::Code;

use crate::reaper::{Ended, Hold, Reaper};
use crate::stage1;
use crate::stage1::channel::{self, Fds};
use crate::stage1::spec::{Failed, Identity, Job, Role, Spec, Told};
use crate::sys::readiness::watch;

/// A job that is not done after this long never will be: a file system hangs.
const LIMIT: Duration = Duration::from_secs(45);

/// How long the killed may take to be gone.
const BURIED_WITHIN: Duration = Duration::from_secs(5);

/// Why a job was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    /// No process, or no way to talk to it.
    #[error("start stage-1")]
    Start(#[source] std::io::Error),
    /// What stage-1 said.
    #[error("{message}")]
    Failed {
        /// Whose mistake it was.
        code: Code,
        /// The chain of causes.
        message: String,
    },
    /// It ended without a word.
    #[error("the process died before it was ready{}", died(*.0))]
    Died(Option<Ended>),
    /// It hangs.
    #[error("the process was not ready after {} s", LIMIT.as_secs())]
    TimedOut,
    /// It spoke out of turn.
    #[error("stage-1 reported nonsense")]
    Nonsense,
}

impl SpawnError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Failed { code, .. } => *code,
            Self::TimedOut => Code::DeadlineExceeded,
            Self::Died(Some(Ended { signal: 9, .. })) => Code::ResourceExhausted,
            Self::Start(_) | Self::Died(_) | Self::Nonsense => Code::Internal,
        }
    }
}

fn died(ended: Option<Ended>) -> String {
    match ended {
        Some(Ended { signal: 9, .. }) => " (killed; its memory limit may be too low)".to_owned(),
        Some(Ended { signal, .. }) if signal != 0 => format!(" (signal {signal})"),
        _ => String::new(),
    }
}

/// A process that waits at the last instruction before execve.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// In our PID namespace.
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    /// How it ends.
    pub(crate) exit: oneshot::Receiver<Ended>,
    /// Who it runs as.
    pub(crate) identity: Identity,
    /// Our side of its terminal, if it has one.
    pub(crate) terminal: Option<OwnedFd>,
    /// Root directory of its devpts, if it made one.
    pub(crate) devpts: Option<OwnedFd>,
    /// Lets it go on.
    pub(crate) gate: Gate,
}

/// What a waiting process waits for. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Gate(Link);

impl Gate {
    /// Lets the process execute its program, and returns when it has.
    pub(crate) async fn open(self) -> Result<(), SpawnError> {
        channel::send_start(&self.0.socket).map_err(|e| SpawnError::Start(e.into()))?;
        match tokio::time::timeout(LIMIT, self.0.next()).await {
            // The socket closed at execve.
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some((Told::Failed(failed), _)))) => Err(failed.into()),
            Ok(Ok(Some(_))) => Err(SpawnError::Nonsense),
            Ok(Err(error)) => Err(SpawnError::Start(error.into())),
            Err(_) => Err(SpawnError::TimedOut),
        }
    }
}

impl From<Failed> for SpawnError {
    fn from(failed: Failed) -> Self {
        Self::Failed {
            code: Code::from(failed.code),
            message: failed.message,
        }
    }
}

/// Makes a process of a container, or a pod's PID 1, up to the point where it waits.
pub(crate) async fn process(
    reaper: &Arc<Reaper>,
    job: Job,
    fds: &[(Role, BorrowedFd<'_>)],
) -> Result<Waiting, SpawnError> {
    let hold = reaper.hold();
    let link = start(reaper, job, fds).map_err(SpawnError::Start)?;
    let mut child = None;
    let followed = follow(&link, reaper, &hold, &mut child);
    let outcome = tokio::time::timeout(LIMIT, followed)
        .await
        .unwrap_or(Err(SpawnError::TimedOut));
    match (outcome, child) {
        (Ok((identity, mut fds)), Some(child)) => Ok(Waiting {
            pid: child.pid.as_raw_nonzero().get().unsigned_abs(),
            pidfd: child.pidfd,
            exit: child.exit,
            identity,
            terminal: fds.take(Role::Terminal),
            devpts: fds.take(Role::Devpts),
            gate: Gate(link),
        }),
        (Ok(_), None) => Err(SpawnError::Nonsense),
        (Err(error), Some(child)) => Err(give_up(error, child).await),
        (Err(error), None) => Err(link.give_up(error).await),
    }
}

/// Has a pod's namespaces made, and returns them.
pub(crate) async fn namespaces(
    reaper: &Arc<Reaper>,
    job: Job,
    fds: &[(Role, BorrowedFd<'_>)],
) -> Result<Fds, SpawnError> {
    let link = start(reaper, job, fds).map_err(SpawnError::Start)?;
    let answer = tokio::time::timeout(LIMIT, link.next()).await;
    let made = match answer {
        Err(_) => Err(SpawnError::TimedOut),
        Ok(Err(error)) => Err(SpawnError::Start(error.into())),
        Ok(Ok(Some((Told::Made(_), fds)))) => Ok(fds),
        Ok(Ok(Some((Told::Failed(failed), _)))) => Err(failed.into()),
        Ok(Ok(Some(_))) => Err(SpawnError::Nonsense),
        Ok(Ok(None)) => Err(SpawnError::Died(None)),
    };
    match made {
        Ok(fds) => Ok(fds),
        Err(error) => Err(link.give_up(error).await),
    }
}

/// The process that stage-1 made.
struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    exit: oneshot::Receiver<Ended>,
}

/// Listens until the process is ready. `child` is set as soon as there is one.
async fn follow(
    link: &Link,
    reaper: &Reaper,
    hold: &Hold,
    child: &mut Option<Child>,
) -> Result<(Identity, Fds), SpawnError> {
    // Parent and child report independently of each other.
    let mut ready = None;
    loop {
        match link.next().await.map_err(|e| SpawnError::Start(e.into()))? {
            Some((Told::Spawned(pid), mut fds)) => {
                let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
                let pid = pid.ok_or(SpawnError::Nonsense)?;
                let pidfd = fds.take(Role::Process).ok_or(SpawnError::Nonsense)?;
                let exit = reaper.watch(hold, pid, &pidfd);
                *child = Some(Child { pid, pidfd, exit });
            }
            Some((Told::Ready(identity), fds)) => ready = Some((identity, fds)),
            Some((Told::Failed(failed), _)) => return Err(failed.into()),
            Some((Told::Made(_), _)) => return Err(SpawnError::Nonsense),
            None => return Err(SpawnError::Died(None)),
        }
        if child.is_some()
            && let Some(ready) = ready.take()
        {
            return Ok(ready);
        }
    }
}

/// Ends the process and waits for that, so that nothing of it is left when the caller cleans up.
async fn give_up(error: SpawnError, child: Child) -> SpawnError {
    // One that ended by itself tells more than our signal would.
    let grace = match error {
        SpawnError::Died(_) | SpawnError::Failed { .. } => Duration::from_secs(1),
        _ => Duration::ZERO,
    };
    let mut exit = child.exit;
    let ended = match tokio::time::timeout(grace, &mut exit).await {
        Ok(ended) => ended.ok(),
        Err(_) => {
            let _ = pidfd_send_signal(&child.pidfd, Signal::KILL);
            let _ = tokio::time::timeout(BURIED_WITHIN, exit).await;
            None
        }
    };
    match error {
        SpawnError::Died(_) => SpawnError::Died(ended),
        other => other,
    }
}

/// Our end of the channel to a stage-1 process.
#[derive(Debug)]
struct Link {
    socket: AsyncFd<OwnedFd>,
    /// Stage-1 itself, which ends once it has forked.
    process: AsyncFd<OwnedFd>,
}

impl Link {
    /// Ends stage-1 if it hangs before its fork, and waits for that, so that nothing of it is left. One that
    /// told of its failure ends by itself.
    async fn give_up(self, error: SpawnError) -> SpawnError {
        if !matches!(error, SpawnError::Failed { .. } | SpawnError::Died(_)) {
            let _ = pidfd_send_signal(self.process.get_ref(), Signal::KILL);
        }
        if tokio::time::timeout(BURIED_WITHIN, self.process.readable())
            .await
            .is_err()
        {
            tracing::error!("stage-1 was killed and does not end");
        }
        error
    }

    async fn next(&self) -> rustix::io::Result<Option<(Told, Fds)>> {
        let received = self
            .socket
            .async_io(Interest::READABLE, |socket| {
                Ok(channel::receive_report(socket)?)
            })
            .await;
        match received {
            Ok(Some((report, fds))) => Ok(Some((report.told.ok_or(Errno::BADMSG)?, fds))),
            Ok(None) => Ok(None),
            // It ended with something of ours unread.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }
}

/// Starts our own program as stage-1 and hands it its job.
fn start(reaper: &Reaper, job: Job, fds: &[(Role, BorrowedFd<'_>)]) -> std::io::Result<Link> {
    let (ours, theirs) = channel::pair()?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    let argument = if matches!(job, Job::PidOne(_)) {
        "pause"
    } else {
        stage1::ARGUMENT
    };
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("bulkhead-agent")
        .arg(argument)
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null());
    // The reaper waits for it; the value that spawning returns must not.
    let process = reaper.spawn(&mut command)?;
    // It holds the other end of what it reads its job from.
    drop(command);
    channel::send_spec(&ours, &Spec { job: Some(job) }, fds)?;
    Ok(Link {
        socket: watch(ours, Interest::READABLE)?,
        process: watch(process, Interest::READABLE)?,
    })
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_stage_1_that_hangs_before_its_fork_is_killed() {
        let process = Reaper::default()
            .spawn(Command::new("sleep").arg("60"))
            .unwrap();
        let again = watch(process.try_clone().unwrap(), Interest::READABLE).unwrap();
        let (ours, _theirs) = channel::pair().unwrap();
        let link = Link {
            socket: watch(ours, Interest::READABLE).unwrap(),
            process: watch(process, Interest::READABLE).unwrap(),
        };
        let error = link.give_up(SpawnError::TimedOut).await;
        assert!(matches!(error, SpawnError::TimedOut), "{error}");
        let ended = tokio::time::timeout(Duration::ZERO, again.readable()).await;
        assert!(ended.is_ok(), "it is dead");
    }
}
