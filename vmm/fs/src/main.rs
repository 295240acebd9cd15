//! The process that serves the node's files to the guest of one machine, over virtio-fs.
//!
//! It sees only what was mounted into its own mount namespace, and its guest sees all of that: what
//! keeps pods apart is that each has such a process of its own. It works in the guest's memory, which
//! the VMM hands over with the queues, and ends with the VMM's connection.

mod capabilities;
mod descriptors;
mod file_system;
mod inherited;
mod jail;
mod library_log;
mod seccomp;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::seccomp::Strictness;

/// What sysexits(3) says of a call with wrong arguments.
const USAGE: u8 = 64;

/// Serves files to one virtual machine, which connects to the listening socket that is descriptor 3.
///
/// Started as root. It shows the directories and files that are mounted on those of its root directory in
/// its own mount namespace, into which whoever started it mounts them.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// What becomes its root directory, read-only.
    #[arg(long)]
    root: PathBuf,
    /// Keep root directory, namespaces, capabilities and all system calls. For diagnosis; only in debug builds.
    #[cfg(debug_assertions)]
    #[arg(long)]
    no_jail: bool,
    /// Let the kernel log system calls that are not allowed. For diagnosis; only in debug builds.
    #[cfg(debug_assertions)]
    #[arg(long)]
    log_system_calls: bool,
}

impl Args {
    #[cfg(debug_assertions)]
    fn strictness(&self) -> Option<Strictness> {
        match (self.no_jail, self.log_system_calls) {
            (true, _) => None,
            (false, true) => Some(Strictness::Log),
            (false, false) => Some(Strictness::Refuse),
        }
    }

    #[cfg(not(debug_assertions))]
    fn strictness(&self) -> Option<Strictness> {
        Some(Strictness::Refuse)
    }
}

fn main() -> ExitCode {
    let listener = inherited::listener();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are no mistakes. That nobody reads them is none of ours.
            let _ = error.print();
            return if error.use_stderr() {
                USAGE.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    log_to_stderr();
    let served = listener
        .map_err(anyhow::Error::from)
        .and_then(|listener| serve(&args, listener));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "bulkhead-fsd can't go on");
            ExitCode::FAILURE
        }
    }
}

/// Locks the process in, and serves until the machine hangs up.
fn serve(args: &Args, listener: std::os::unix::net::UnixListener) -> anyhow::Result<()> {
    let descriptors = descriptors::limit().context("limit the number of open files")?;
    let (root, process) = match args.strictness() {
        None => (args.root.clone(), jail::open_descriptors()?),
        Some(strictness) => {
            let process = jail::enter(&args.root)?;
            capabilities::drop_all_but_needed()?;
            seccomp::apply(strictness)?;
            (PathBuf::from("/"), process)
        }
    };
    let files = file_system::open(&root, process, descriptors)?;
    tracing::info!(descriptors, "ready to serve files");
    file_system::serve(files, listener)
}

/// One JSON object a line; whoever started us decides where stderr goes.
fn log_to_stderr() {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(std::io::stderr)
        .with_current_span(false)
        .init();
    library_log::forward();
}
