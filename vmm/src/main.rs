//! The process: take what was inherited, lock in, and answer on the control socket.

use std::process::ExitCode as Code;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use vmm::api::Api;
use vmm::jail::{self, Identity};
use vmm::machine::Surroundings;
use vmm::seccomp::{Filters, Role, Strictness};
use vmm::{ExitCode, Kvm, inherited, signals};

/// Runs one virtual machine, as told over the listening `SOCK_SEQPACKET` socket that is descriptor 3.
///
/// Started as root. It opens /dev/kvm, if there is one, and then locks itself in.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// User to become. Not root, and nobody else's.
    #[arg(long)]
    uid: u32,
    /// Group to become. Not root's, and nobody else's.
    #[arg(long)]
    gid: u32,
    /// Keep user, root directory and all system calls. For diagnosis; only in debug builds.
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
            (false, false) => Some(Strictness::Kill),
        }
    }

    #[cfg(not(debug_assertions))]
    fn strictness(&self) -> Option<Strictness> {
        Some(Strictness::Kill)
    }
}

fn main() -> Code {
    let control = inherited::control_socket();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are no mistakes. That nobody reads them is none of ours.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::Usage.into()
            } else {
                Code::SUCCESS
            };
        }
    };
    log_to_stderr();
    let control = match control {
        Ok(control) => control,
        Err(error) => return fail(&error.into(), ExitCode::Usage),
    };
    let surroundings = match lock_in(&args) {
        Ok(surroundings) => surroundings,
        Err(error) => return fail(&error, ExitCode::Jail),
    };
    match Api::new(control, surroundings).and_then(Api::run) {
        Ok(code) => code.into(),
        Err(error) => fail(&error.into(), ExitCode::Control),
    }
}

/// Takes what can only be had from outside the jail, and shuts it.
fn lock_in(args: &Args) -> anyhow::Result<Surroundings> {
    signals::ignore().context("ignore signals that end other processes")?;
    let kvm = Kvm::open();
    let strictness = args.strictness();
    if strictness.is_some() {
        let Args { uid, gid, .. } = *args;
        jail::enter(Identity { uid, gid })?;
    }
    let filters = Filters::new(strictness.unwrap_or(Strictness::Off))?;
    let surroundings = Surroundings::new(kvm, Arc::new(filters)).context("make descriptors")?;
    surroundings.filters.apply(Role::Control)?;
    Ok(surroundings)
}

/// One JSON object a line; whoever started us decides where stderr goes.
fn log_to_stderr() {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(std::io::stderr)
        .with_current_span(false)
        .init();
}

fn fail(error: &anyhow::Error, code: ExitCode) -> Code {
    tracing::error!(error = format!("{error:#}"), "bulkhead-vmm can't go on");
    code.into()
}
