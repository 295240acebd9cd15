//! `bulkhead-vmm`: one process, one machine.
//!
//! A sandbox starts one of these per pod and asks it, over a control socket, to boot a machine. The
//! process then serves the machine's devices, carries streams between host and guest, and writes the
//! output of the guest's containers to their log files. It goes on doing so whether or not anybody is
//! connected to the control socket.
#![deny(clippy::cast_possible_truncation)]

pub mod api;
mod builtin;
mod console;
mod event_loop;
pub mod exit_code;
mod files;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod inherited;
mod io_thread;
pub mod jail;
mod log;
pub mod machine;
mod milestone;
pub mod seccomp;
mod services;
pub mod signals;
mod vsock;

pub use builtin::{Kvm, KvmError};
pub use exit_code::ExitCode;

/// `error` and its causes on one line: "build the machine: set KVM up: create a vCPU: no space".
pub fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
