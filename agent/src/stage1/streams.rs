//! stdin, stdout and stderr of a process that is about to be.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid, fchown, fstat};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::Error;
use super::channel::Fds;
use super::spec::Role;
use crate::container::tty::Terminal;

/// A process's streams.
pub(super) enum Stdio {
    /// One terminal for all.
    Terminal(Terminal),
    /// Pipes; what is missing is /dev/null of the container.
    Streams {
        stdin: Option<OwnedFd>,
        stdout: Option<OwnedFd>,
        stderr: Option<OwnedFd>,
    },
}

impl Stdio {
    /// Those that came with the job.
    pub(super) fn streams(fds: &mut Fds) -> Self {
        Self::Streams {
            stdin: fds.take(Role::Stdin),
            stdout: fds.take(Role::Stdout),
            stderr: fds.take(Role::Stderr),
        }
    }

    /// Puts the streams in their places and returns the master side of the terminal, if it is one.
    pub(super) fn set_up(self, uid: u32) -> Result<Option<OwnedFd>, Error> {
        match self {
            Self::Terminal(terminal) => {
                terminal.control(uid)?;
                let slave = Some(&terminal.slave);
                place(slave, slave, slave)?;
                Ok(Some(terminal.master))
            }
            Self::Streams {
                stdin,
                stdout,
                stderr,
            } => {
                for stream in [&stdin, &stdout, &stderr].into_iter().flatten() {
                    give(stream, uid)?;
                }
                place(stdin.as_ref(), stdout.as_ref(), stderr.as_ref())?;
                Ok(None)
            }
        }
    }
}

/// Lets the process open its pipes anew through /dev/stdout and its like.
fn give(stream: &OwnedFd, uid: u32) -> Result<(), Error> {
    let error = |e| Error::Stdio("streams", e);
    let kind = FileType::from_raw_mode(fstat(stream).map_err(error)?.st_mode);
    if kind != FileType::Fifo {
        return Ok(());
    }
    fchown(stream, Some(Uid::from_raw(uid)), None::<Gid>).map_err(error)
}

fn place(
    stdin: Option<&OwnedFd>,
    stdout: Option<&OwnedFd>,
    stderr: Option<&OwnedFd>,
) -> Result<(), Error> {
    let null = open_null().map_err(|e| Error::Stdio("/dev/null", e))?;
    dup2_stdin(stdin.unwrap_or(&null)).map_err(|e| Error::Stdio("stdin", e))?;
    dup2_stdout(stdout.unwrap_or(&null)).map_err(|e| Error::Stdio("stdout", e))?;
    dup2_stderr(stderr.unwrap_or(&null)).map_err(|e| Error::Stdio("stderr", e))
}

/// The container's own: nothing of the host shows through its descriptors. Somebody in the container
/// may have replaced it, hence no waiting, and no terminal to be caught by.
fn open_null() -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    rustix::fs::open("/dev/null", flags, Mode::empty())
}
