//! Runs one plugin program: standard input in, standard output out, everything bounded.
//!
//! A plugin may hang, write without end, leave children behind or never read. It runs in a process
//! group of its own, which is killed as a whole when the plugin may not go on.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use crate::error::Failure;

/// What a plugin is to do, as in `CNI_COMMAND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Command {
    /// Make an attachment.
    Add,
    /// Undo an attachment.
    Del,
    /// See whether an attachment is as it was made.
    Check,
    /// See whether attachments can be made.
    Status,
    /// Undo all attachments but those that are listed.
    Gc,
    /// Tell the versions it speaks.
    Version,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Status => "STATUS",
            Self::Gc => "GC",
            Self::Version => "VERSION",
        })
    }
}

/// What a plugin left when it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    /// Its beginning.
    pub(crate) stderr: Vec<u8>,
}

/// Most bytes of a result.
const MOST_STDOUT: usize = 1 << 20;
/// What is kept of a plugin's log; the rest is read and dropped.
const KEPT_STDERR: usize = 16 << 10;
/// A plugin that ended may have left a child that holds its output open: so long it is still read.
const DRAIN: Duration = Duration::from_millis(500);
/// A killed process that does not go away (in uninterruptible sleep) is left after so long.
const REAP: Duration = Duration::from_secs(5);
/// A program that is being replaced can't be started for a moment.
const BUSY_RETRIES: u32 = 5;
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// Runs `program` until it ends, at most for `limit`.
pub(crate) async fn run(
    program: &Path,
    environment: &[(&str, OsString)],
    stdin: &[u8],
    limit: Duration,
) -> Result<Ended, Failure> {
    let failed = |doing| {
        move |source| Failure::Process {
            doing,
            program: program.to_path_buf(),
            source,
        }
    };
    let child = start(program, environment).await.map_err(failed("start"))?;
    // A caller that goes away drops this future, and the group with it.
    let mut group = Group::of(child);
    let ended = timeout(limit, converse(&mut group.child, stdin, failed("talk to"))).await;
    let ended = ended.unwrap_or(Err(Failure::TimedOut(limit)));
    if ended.is_ok() {
        // What a plugin leaves running on purpose, such as a DHCP client, stays.
        group.living = false;
    } else {
        group.kill();
        timeout(REAP, group.child.wait()).await.ok();
    }
    ended
}

async fn start(program: &Path, environment: &[(&str, OsString)]) -> io::Result<Child> {
    let mut command = tokio::process::Command::new(program);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .current_dir("/")
        .process_group(0)
        .kill_on_drop(true);
    for (key, _) in std::env::vars_os().filter(|(key, _)| is_ours(key.as_encoded_bytes())) {
        command.env_remove(key);
    }
    command.envs(environment.iter().map(|(key, value)| (key, value)));
    let mut retries = 0..BUSY_RETRIES;
    loop {
        match command.spawn() {
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy
                    && retries.next().is_some() =>
            {
                sleep(BUSY_PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Variables that speak to this process and to nobody below it.
fn is_ours(key: &[u8]) -> bool {
    key.starts_with(b"CNI_") || key.starts_with(b"LISTEN_") || key == b"NOTIFY_SOCKET"
}

/// The plugin, and all it started that did not leave its process group.
struct Group {
    child: Child,
    living: bool,
}

impl Group {
    fn of(child: Child) -> Self {
        Self {
            child,
            living: true,
        }
    }

    fn kill(&mut self) {
        // A plugin that was waited for has no id any more: another process may have it.
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            kill_process_group(group, Signal::KILL).ok();
        }
        self.living = false;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.living {
            self.kill();
        }
    }
}

async fn converse(
    child: &mut Child,
    request: &[u8],
    failed: impl Fn(io::Error) -> Failure,
) -> Result<Ended, Failure> {
    let (mut stdin, stdout, stderr) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut result, mut log) = (Vec::new(), Vec::new());
    let status = {
        let talk = async {
            // A plugin need not read its input; then writing fails, which says nothing about it.
            let feed = async {
                if let Some(mut stdin) = stdin.take() {
                    stdin.write_all(request).await.ok();
                }
                Ok(())
            };
            let read = read_all(stdout, &mut result);
            let keep = async {
                keep_beginning(stderr, &mut log).await;
                Ok(())
            };
            tokio::try_join!(feed, read, keep).map(drop)
        };
        tokio::pin!(talk);
        tokio::select! {
            biased;
            done = &mut talk => {
                done?;
                child.wait().await.map_err(failed)?
            }
            status = child.wait() => {
                if let Ok(done) = timeout(DRAIN, &mut talk).await {
                    done?;
                }
                status.map_err(failed)?
            }
        }
    };
    Ok(Ended {
        status,
        stdout: result,
        stderr: log,
    })
}

async fn read_all(from: Option<impl AsyncRead + Unpin>, to: &mut Vec<u8>) -> Result<(), Failure> {
    let Some(from) = from else { return Ok(()) };
    let mut from = from.take(MOST_STDOUT as u64 + 1);
    // An error of a pipe is its end.
    from.read_to_end(to).await.ok();
    match to.len() {
        0..=MOST_STDOUT => Ok(()),
        _ => Err(Failure::TooMuchOutput { limit: MOST_STDOUT }),
    }
}

async fn keep_beginning(from: Option<impl AsyncRead + Unpin>, to: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut chunk = [0; 4096];
    while let Ok(len @ 1..) = from.read(&mut chunk).await {
        let room = KEPT_STDERR - to.len();
        to.extend_from_slice(&chunk[..len.min(room)]);
    }
}

#[cfg(test)]
mod tests;
