//! How the process ends, as its parent sees it.

use vmm_api::event::Stop;

/// The process's exit code. From 64 on they are those of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// The guest powered off.
    PoweredOff = 0,
    /// The guest asked for a reset, as a panicked kernel does.
    Reset = 10,
    /// The guest crashed.
    Crashed = 11,
    /// We were asked to end the machine.
    Killed = 12,
    /// The host could not go on running it.
    HostError = 13,
    /// Nobody asked for a machine.
    Unused = 14,
    /// We were started wrongly.
    Usage = 64,
    /// The control socket does not work.
    Control = 71,
    /// The process could not lock itself in.
    Jail = 77,
}

impl From<Stop> for ExitCode {
    fn from(how: Stop) -> Self {
        match how {
            Stop::PowerOff => Self::PoweredOff,
            Stop::Reset => Self::Reset,
            Stop::Crash => Self::Crashed,
            Stop::Killed => Self::Killed,
            Stop::HostError => Self::HostError,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
