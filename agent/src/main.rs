//! `bulkhead-agent`: supervisor of a pod on the host, PID 1 of a guest.

mod agent;
mod container;
mod error;
mod events;
mod guest;
mod host;
mod log;
mod logger;
mod mode;
mod oom;
mod reaper;
mod rpc;
mod sandbox;
mod spawn;
mod stage1;
mod stats;
mod stdio;
mod sys;

use std::process::ExitCode;

use error::Error;
use mode::Role;

/// `EX_USAGE` of sysexits.h.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let is_pid_one = std::process::id() == 1;
    let args = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    match Role::parse(args, is_pid_one) {
        Ok(Role::Stage1) => stage1::run(),
        Ok(Role::Host(options)) => host::run(&options),
        Ok(Role::FirstBoot) => guest::first_boot(),
        Ok(Role::Guest) => guest::run(),
        Ok(Role::Version) => {
            logger::print(&mode::version());
            ExitCode::SUCCESS
        }
        Err(error) => {
            logger::print(&format!("bulkhead-agent: {error}\n{}", mode::USAGE));
            ExitCode::from(USAGE)
        }
    }
}

/// `error` and its causes on one line: "stop sandbox: kill agent: no such process".
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
