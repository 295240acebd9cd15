//! Compiles OCI seccomp profiles to BPF programs for x86_64, with its 32-bit and x32 system calls.
//!
//! ```text
//! JSON ──Profile──▶ Rules (per architecture: number → what to do) ──▶ binary search as BPF
//! ```
//!
//! A program is compiled once and loaded by whoever starts the process. Of several rules for one
//! system call those with conditions on arguments are tried before those without, and stricter
//! actions before laxer ones, whatever their order in the profile. System calls by an architecture
//! that a profile does not name kill the process.

mod bpf;
mod default_profile;
mod profile;
mod rules;
mod syscalls;

#[cfg(test)]
mod interpreter;
#[cfg(test)]
mod tests;

pub use bpf::Program;
pub use profile::{Action, Argument, Operator, Profile, ProfileError, SyscallRule};

use rules::Rules;

/// What the conditional parts of a profile ask about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Circumstances {
    /// Capabilities in the bounding set of the process: `CAP_SYS_ADMIN`.
    pub capabilities: Vec<String>,
    /// Major and minor version of the kernel.
    pub kernel: (u32, u32),
}

/// A profile that can't be compiled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// An action that needs more than a program.
    #[error("action {0} needs a process that listens, which this runtime does not offer")]
    Listener(&'static str),
    /// Argument numbers are 0 to 5.
    #[error("a rule for {syscall} looks at argument {index}; there are 0 to 5")]
    ArgumentIndex {
        /// The system call.
        syscall: String,
        /// What the profile says.
        index: u32,
    },
    /// The kernel takes 4096 instructions.
    #[error("the program has {0} instructions; the kernel takes 4096")]
    TooLong(usize),
    /// x86_64 is not among those that the profile is for.
    #[error("the profile is not for this architecture, x86_64")]
    OtherArchitecture,
}

impl Profile {
    /// The profile for containers that ask for the runtime's default.
    pub fn runtime_default() -> Self {
        default_profile::profile()
    }

    /// The program that does what this profile says.
    pub fn compile(&self, circumstances: &Circumstances) -> Result<Program, CompileError> {
        let rules = Rules::new(self, circumstances)?;
        bpf::program(rules)
    }
}
