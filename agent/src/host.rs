//! The agent on the host: supervisor of one pod, outliving whoever started it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdListener;
use std::process::ExitCode;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{DumpableBehavior, set_child_subreaper, set_dumpable_behavior};
use tokio::net::UnixListener;

use crate::agent::Agent;
use crate::container::rlimits::open_many_files;
use crate::mode::{HostOptions, ListenAt, Mode};
use crate::reaper::Reaper;
use crate::sys::{inherited, signals};
use crate::{chain, logger, rpc};

mod seal;

/// Only the kernel's memory killer on its last legs may take a supervisor.
const OOM_SCORE_ADJ: &str = "-999";

/// Why an agent can't do its work.
#[derive(Debug, thiserror::Error)]
enum HostError {
    #[error("run from a sealed copy of the program")]
    Seal(#[source] std::io::Error),
    #[error("take inherited descriptor {0}")]
    Inherit(i32, #[source] rustix::io::Errno),
    #[error("lock descriptor {0}: another agent has it")]
    Lock(i32, #[source] rustix::io::Errno),
    #[error("listen")]
    Listen(#[source] std::io::Error),
    #[error("become the parent of orphans")]
    Subreaper(#[source] rustix::io::Errno),
    #[error("hide from other processes")]
    Hide(#[source] rustix::io::Errno),
    #[error("hear of processes that end")]
    Reap(#[source] std::io::Error),
    #[error("start the event loop")]
    Runtime(#[source] std::io::Error),
}

/// Supervises until it is told to end.
pub(crate) fn run(options: &HostOptions) -> ExitCode {
    logger::start(tracing::Level::INFO);
    match supervise(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = chain(&error), "agent stops");
            ExitCode::FAILURE
        }
    }
}

fn supervise(options: &HostOptions) -> Result<(), HostError> {
    seal::ensure().map_err(HostError::Seal)?;
    let _lock = take_lock(options)?;
    let listener = listen(&options.socket)?;
    settle()?;
    let sigchld = signals::sigchld_fd().map_err(|e| HostError::Reap(e.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(HostError::Runtime)?;
    runtime.block_on(serve(listener, sigchld))
}

/// Whoever sees the lock free knows that we are gone.
fn take_lock(options: &HostOptions) -> Result<Option<File>, HostError> {
    let Some(number) = options.lock else {
        return Ok(None);
    };
    let file = inherited::take(number).map_err(|error| HostError::Inherit(number, error))?;
    // Without waiting: two agents for one pod must not be.
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|error| HostError::Lock(number, error))?;
    Ok(Some(file.into()))
}

fn listen(socket: &ListenAt) -> Result<StdListener, HostError> {
    let listener = match socket {
        ListenAt::Path(path) => {
            // The lock says that no other agent uses it.
            let _ = std::fs::remove_file(path);
            StdListener::bind(path).map_err(HostError::Listen)?
        }
        ListenAt::Fd(number) => {
            let fd: OwnedFd =
                inherited::take(*number).map_err(|error| HostError::Inherit(*number, error))?;
            StdListener::from(fd)
        }
    };
    listener.set_nonblocking(true).map_err(HostError::Listen)?;
    Ok(listener)
}

/// Makes us hard to end and impossible to look into.
fn settle() -> Result<(), HostError> {
    signals::ignore(&[
        libc::SIGTERM,
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGPIPE,
    ]);
    open_many_files();
    set_child_subreaper(Some(rustix::process::getpid())).map_err(HostError::Subreaper)?;
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ) {
        tracing::warn!(%error, "not protected from the memory killer");
    }
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(HostError::Hide)
}

async fn serve(listener: StdListener, sigchld: OwnedFd) -> Result<(), HostError> {
    let listener = UnixListener::from_std(listener).map_err(HostError::Listen)?;
    let reaper = Arc::new(Reaper::default());
    let agent = Agent::new(Mode::Host, Arc::clone(&reaper), None);
    tracing::info!(
        build = crate::mode::version(),
        pid = std::process::id(),
        "agent started"
    );
    tokio::select! {
        failed = reaper.run(sigchld) => failed.map_err(HostError::Reap),
        () = rpc::serve(&agent, || accept(&listener)) => Ok(()),
        () = agent.ended.notified() => {
            tracing::info!("agent ends as it was told");
            Ok(())
        }
    }
}

/// The next connection of somebody who may give us orders: the host's root, or whoever we are.
async fn accept(listener: &UnixListener) -> std::io::Result<tokio::net::UnixStream> {
    loop {
        let (stream, _) = listener.accept().await?;
        let uid = stream.peer_cred()?.uid();
        if uid == 0 || uid == rustix::process::geteuid().as_raw() {
            return Ok(stream);
        }
        tracing::warn!(uid, "connection refused: not root");
    }
}
