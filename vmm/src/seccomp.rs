//! Which system calls each thread may make. Any other ends the process.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

mod allowed;

/// A thread can't be restricted.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The list of calls makes no program.
    #[error("compile a system call filter")]
    Compile(#[source] seccompiler::BackendError),
    /// The kernel refused the program.
    #[error("install a system call filter")]
    Install(#[source] seccompiler::Error),
}

/// What a thread does, which decides what it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Talks to the sandbox, and makes the machine and its threads: what those may, it may too, because
    /// a thread inherits the filter of the one that made it.
    Control,
    /// Works for devices.
    Io,
    /// Runs a vCPU.
    Vcpu,
}

/// What happens to a thread that makes a call it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// The process ends.
    Kill,
    /// The kernel writes it to its audit log. For finding out what a filter lacks.
    Log,
    /// Nothing: there are no filters.
    Off,
}

/// The filters of all roles, compiled once.
#[derive(Debug, Default)]
pub struct Filters {
    control: BpfProgram,
    io: BpfProgram,
    vcpu: BpfProgram,
}

impl Filters {
    /// Compiles them.
    pub fn new(strictness: Strictness) -> Result<Self, SeccompError> {
        let action = match strictness {
            Strictness::Kill => SeccompAction::KillProcess,
            Strictness::Log => SeccompAction::Log,
            Strictness::Off => return Ok(Self::default()),
        };
        let compile = |role| compile(rules(role), action.clone());
        Ok(Self {
            control: compile(Role::Control)?,
            io: compile(Role::Io)?,
            vcpu: compile(Role::Vcpu)?,
        })
    }

    /// Restricts the calling thread, and those it makes from now on, for good.
    pub fn apply(&self, role: Role) -> Result<(), SeccompError> {
        let program = match role {
            Role::Control => &self.control,
            Role::Io => &self.io,
            Role::Vcpu => &self.vcpu,
        };
        if program.is_empty() {
            return Ok(());
        }
        apply_filter(program).map_err(SeccompError::Install)
    }
}

const F_GETFD: u64 = 1;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn rules(role: Role) -> Rules {
    let mut rules = Rules::new();
    let mut allow = |calls: &[libc::c_long], ioctls: &[u64]| {
        rules.extend(calls.iter().map(|call| (*call, Vec::new())));
        let ioctls = ioctls.iter().map(|request| ioctl(*request));
        rules.entry(libc::SYS_ioctl).or_default().extend(ioctls);
    };
    allow(allowed::EVERYBODY, &[]);
    if matches!(role, Role::Vcpu | Role::Control) {
        allow(allowed::VCPU, allowed::VCPU_IOCTLS);
    }
    if matches!(role, Role::Io | Role::Control) {
        allow(allowed::IO, allowed::IO_IOCTLS);
    }
    if role == Role::Control {
        allow(allowed::CONTROL, allowed::CONTROL_IOCTLS);
    }
    // The standard library of a debug build looks whether a descriptor is open before it closes it.
    if cfg!(debug_assertions) && role != Role::Control {
        let is_open = rule(1, SeccompCmpOp::Eq, F_GETFD);
        rules.insert(libc::SYS_fcntl, vec![is_open]);
    }
    rules.extend(allowed::MAPPING.map(|call| (call, vec![not_executable()])));
    rules
}

/// An ioctl with this number.
fn ioctl(request: u64) -> SeccompRule {
    rule(1, SeccompCmpOp::Eq, request)
}

/// A protection without `PROT_EXEC`.
fn not_executable() -> SeccompRule {
    const PROT_EXEC: u64 = 4;
    rule(2, SeccompCmpOp::MaskedEq(PROT_EXEC), 0)
}

fn rule(argument: u8, operator: SeccompCmpOp, value: u64) -> SeccompRule {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value);
    let condition = condition.expect("a call has six arguments");
    SeccompRule::new(vec![condition]).expect("there is a condition")
}

fn compile(rules: Rules, otherwise: SeccompAction) -> Result<BpfProgram, SeccompError> {
    SeccompFilter::new(rules, otherwise, SeccompAction::Allow, TargetArch::x86_64)
        .and_then(TryInto::try_into)
        .map_err(SeccompError::Compile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_filters_compile() {
        let filters = Filters::new(Strictness::Kill).unwrap();
        for program in [&filters.control, &filters.io, &filters.vcpu] {
            assert!(!program.is_empty() && program.len() < 4096);
        }
    }

    #[test]
    fn nobody_opens_a_path_connects_or_executes() {
        for role in [Role::Control, Role::Io, Role::Vcpu] {
            let rules = rules(role);
            for call in [
                libc::SYS_open,
                libc::SYS_openat,
                libc::SYS_openat2,
                libc::SYS_socket,
                libc::SYS_connect,
                libc::SYS_execve,
                libc::SYS_execveat,
                libc::SYS_ptrace,
                libc::SYS_mount,
                libc::SYS_bpf,
                libc::SYS_io_uring_setup,
            ] {
                assert!(!rules.contains_key(&call), "{role:?} may make call {call}");
            }
        }
    }

    #[test]
    fn a_thread_may_not_do_more_than_the_one_that_makes_it() {
        let control = rules(Role::Control);
        for role in [Role::Io, Role::Vcpu] {
            for (call, conditions) in rules(role) {
                // No conditions mean any.
                let allowed = &control[&call];
                assert!(
                    allowed.is_empty() || conditions.iter().all(|rule| allowed.contains(rule)),
                    "call {call} of {role:?}"
                );
            }
        }
    }

    #[test]
    fn no_thread_makes_arbitrary_ioctls() {
        for role in [Role::Control, Role::Io, Role::Vcpu] {
            assert!(!rules(role)[&libc::SYS_ioctl].is_empty());
        }
    }
}
