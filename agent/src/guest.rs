//! The agent in a guest: PID 1 of a machine that exists for one pod.

pub(crate) mod clock;
pub(crate) mod cpus;
pub(crate) mod disks;
mod host;
mod kernel;
mod kernel_log;
pub(crate) mod memory;
pub(crate) mod modules;
pub(crate) mod mounts;
pub(crate) mod network;
pub(crate) mod power;
pub(crate) mod shares;
pub(crate) mod vsock;

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;

use host::Host;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tonic::Code;

use crate::agent::Agent;
use crate::container::rlimits::lift_for_guest;
use crate::log::LogWriter;
use crate::mode::Mode;
use crate::reaper::Reaper;
use crate::sys::exec::execve;
use crate::sys::signals;
use crate::{chain, logger, rpc};

/// Why a guest can't do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuestError {
    #[error("{0} can only be done in a guest")]
    NotAGuest(&'static str),
    #[error("{0} can only be done on the host")]
    NotAHost(&'static str),
    #[error("{0:?} cannot be a disk's serial number")]
    Serial(String),
    #[error("no disk with serial number {}", .0.join(", "))]
    NoDisk(Vec<String>),
    #[error("disk {0} is in use")]
    DiskInUse(String),
    #[error("mount disk {serial}")]
    Disk {
        serial: String,
        source: crate::container::mounts::MountError,
    },
    #[error("{0:?} cannot be the name of a share")]
    ShareName(String),
    #[error("find share {name}")]
    Share {
        name: String,
        source: std::io::Error,
    },
    #[error("mount the node's files")]
    Shares(#[source] crate::container::mounts::MountError),
    #[error("configure the network: {0} makes no sense")]
    NetworkWords(String),
    #[error("configure the network: {doing}")]
    Network {
        doing: String,
        source: std::io::Error,
    },
    #[error("{doing} {path}")]
    File {
        doing: &'static str,
        path: String,
        source: std::io::Error,
    },
    #[error("{doing}")]
    System {
        doing: &'static str,
        source: rustix::io::Errno,
    },
}

impl GuestError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::NotAGuest(_) | Self::NotAHost(_) => Code::Unimplemented,
            Self::Serial(_) | Self::ShareName(_) | Self::NetworkWords(_) => Code::InvalidArgument,
            Self::NoDisk(_) | Self::Share { .. } => Code::NotFound,
            Self::DiskInUse(_) => Code::FailedPrecondition,
            Self::Disk { .. }
            | Self::Shares(_)
            | Self::Network { .. }
            | Self::File { .. }
            | Self::System { .. } => Code::Internal,
        }
    }
}

/// What the kernel starts: makes a root that containers can leave and nobody can write, and starts again
/// from there.
pub(crate) fn first_boot() -> ExitCode {
    power::reset_on_panic();
    if let Err(error) = mounts::leave_initial_root() {
        complain("leave the initial root", &error);
    }
    let args = [c"/init".to_owned(), c"guest".to_owned()];
    let none: [CString; 0] = [];
    let error = execve(c"/init", &args, &none);
    complain("start again from the new root", &error);
    power::reset()
}

/// Never returns: a machine without PID 1 is a machine that crashed.
pub(crate) fn run() -> ExitCode {
    power::reset_on_panic();
    logger::start(tracing::Level::INFO);
    if let Err(error) = boot().and_then(serve) {
        complain("serve as the guest's agent", &*error);
    }
    power::reset()
}

type AnyError = Box<dyn std::error::Error>;

/// Brings the guest up; whatever is not vital may fail, and is complained about.
fn boot() -> Result<(Host, OwnedFd), AnyError> {
    mounts::mount_all();
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    memory::use_what_is_plugged();
    kernel::configure();
    lift_for_guest();
    let sigchld = signals::sigchld_fd()?;
    // The host's first call waits in the listener's queue while we go on.
    let host = modules::load_first(Host::reach);
    if let Err(error) = network::raise_loopback() {
        tracing::warn!(error = chain(&error), "no loopback");
    }
    let host = host.ok_or("no vsock device, or nobody on the host's side of it")?;
    Ok((host, sigchld))
}

fn serve((host, sigchld): (Host, OwnedFd)) -> Result<(), AnyError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = vsock::Listener::new(host.calls)?;
        let log_writer = LogWriter::new(vsock::stream(host.log)?);
        let reaper = Arc::new(Reaper::default());
        let agent = Agent::new(Mode::Guest, Arc::clone(&reaper), Some(log_writer));
        tracing::info!(build = crate::mode::version(), "agent started");
        tokio::spawn(kernel_log::forward(host.kernel_log));
        tokio::select! {
            failed = reaper.run(sigchld) => Ok(failed?),
            () = rpc::serve(&agent, || listener.accept()) => Ok(()),
            () = agent.ended.notified() => power::off(),
        }
    })
}

fn complain(doing: &'static str, error: &(dyn std::error::Error + 'static)) {
    logger::print(&format!("bulkhead-agent: {doing}: {}", chain(error)));
}

/// Refuses what only makes sense in a guest.
pub(crate) fn only(mode: Mode, what: &'static str) -> Result<(), GuestError> {
    match mode {
        Mode::Guest => Ok(()),
        Mode::Host => Err(GuestError::NotAGuest(what)),
    }
}

/// Writes a small file of /sys or /proc.
fn write_file(doing: &'static str, path: &str, content: &str) -> Result<(), GuestError> {
    std::fs::write(path, content).map_err(|source| GuestError::File {
        doing,
        path: path.to_owned(),
        source,
    })
}

/// The same for what is an improvement only.
fn try_write_file(path: &str, content: &str) {
    if let Err(error) = std::fs::write(path, content) {
        tracing::warn!(path, %error, "not set");
    }
}

/// Attaches a detached mount to a directory of the guest's own.
fn attach(mount: &OwnedFd, path: &str) -> rustix::io::Result<()> {
    use rustix::mount::{MoveMountFlags, move_mount};
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mount.as_fd(), "", rustix::fs::CWD, path, flags)
}
