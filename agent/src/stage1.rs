//! Stage-1: the single-threaded process that becomes a process of a container.
//!
//! The agent never runs anything of consequence between fork and exec. It spawns its own program anew
//! as stage-1, hands it a [`spec::Spec`] and descriptors over a socket pair, and hears back what came
//! of it. Stage-1 joins and makes namespaces, forks once into the right PID namespace and cgroup, and
//! its child builds the file tree, drops what it does not need, waits for the start and executes.

pub(crate) mod channel;
pub(crate) mod spec;

mod r#become;
mod error;
mod exec;
mod init;
mod pid_one;
mod pod;
mod program;
mod streams;

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use channel::Fds;
pub(crate) use error::Error;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::stdio::stdin;
use spec::{Failed, Job, Report, Role, Told};

use crate::sys::clone::{NewNamespaces, Side, clone_sibling};

/// The word on the command line that says what we are.
pub(crate) const ARGUMENT: &str = "stage-1";

/// What a process that could not become its program ends with, as with other container engines.
const NOT_STARTED: u8 = 128;

/// Does the one job that arrives on stdin. Returns only where the process did not become another program.
pub(crate) fn run() -> ExitCode {
    // Before anything else: what we hold open is not for the processes of the namespaces we enter.
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let Ok(mut agent) = rustix::io::fcntl_dupfd_cloexec(stdin(), 3) else {
        return ExitCode::FAILURE;
    };
    let done = hidden.map_err(Error::Hide).and_then(|()| {
        let (spec, fds) = channel::receive_spec(&agent).map_err(Error::Receive)?;
        do_job(spec.job.ok_or(Error::NoJob)?, fds, &mut agent)
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell_failure(&agent, &error);
            ExitCode::from(NOT_STARTED)
        }
    }
}

fn do_job(job: Job, fds: Fds, agent: &mut OwnedFd) -> Result<(), Error> {
    match job {
        Job::Pod(job) => pod::run(&job, &fds, agent),
        Job::PidOne(_) => pid_one::run(agent),
        Job::Init(job) => init::run(&job, fds, agent),
        Job::Exec(job) => exec::run(&job, fds, agent),
    }
}

/// Forks. The parent tells the agent about the child and gets `None`; the child gets what it is to go on
/// with.
fn fork<T>(
    new: NewNamespaces,
    fds: T,
    cgroup: impl FnOnce(&T) -> Option<std::os::fd::BorrowedFd<'_>>,
    agent: &OwnedFd,
) -> Result<Option<T>, Error> {
    match clone_sibling(new, cgroup(&fds)).map_err(Error::Clone)? {
        Side::Child => Ok(Some(fds)),
        Side::Parent(pid, pidfd) => {
            let pid = u32::try_from(pid.as_raw_nonzero().get()).expect("pids are positive");
            tell(agent, Told::Spawned(pid), &[(Role::Process, pidfd.as_fd())])?;
            Ok(None)
        }
    }
}

fn tell(
    agent: &OwnedFd,
    told: Told,
    fds: &[(Role, std::os::fd::BorrowedFd<'_>)],
) -> Result<(), Error> {
    channel::send_report(
        agent,
        Report {
            told: Some(told),
            roles: Vec::new(),
        },
        fds,
    )
    .map_err(Error::Tell)
}

fn tell_failure(agent: &OwnedFd, error: &Error) {
    let mut message = crate::chain(error);
    let end = message.floor_char_boundary(4096);
    message.truncate(end);
    let failed = Failed {
        code: error.code() as i32,
        message,
    };
    // An agent that is gone does not need to know.
    let _ = tell(agent, Told::Failed(failed), &[]);
}
