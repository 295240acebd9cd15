//! Which system calls the process may make once it is locked in.

use std::collections::BTreeMap;

use libc::*;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// The process can't be restricted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeccompError {
    /// The list of calls makes no program.
    #[error("compile a system call filter")]
    Compile(#[source] seccompiler::BackendError),
    /// The kernel refused the program.
    #[error("install a system call filter")]
    Install(#[source] seccompiler::Error),
}

/// What happens at a call that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// It fails, as on a kernel that does not have it.
    Refuse,
    /// The kernel writes it to its audit log. For finding out what the filter lacks.
    #[cfg(debug_assertions)]
    Log,
}

/// Memory, threads, time, and waiting for each other.
const PROCESS: &[c_long] = &[
    SYS_brk,
    SYS_mmap,
    SYS_mprotect,
    SYS_mremap,
    SYS_munmap,
    SYS_madvise,
    SYS_membarrier,
    SYS_clone,
    SYS_clone3,
    SYS_rseq,
    SYS_set_robust_list,
    SYS_sched_getaffinity,
    SYS_sched_yield,
    SYS_futex,
    SYS_prctl,
    SYS_getpid,
    SYS_gettid,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_restart_syscall,
    SYS_clock_gettime,
    SYS_clock_nanosleep,
    SYS_gettimeofday,
    SYS_getrandom,
    SYS_uname,
    SYS_exit,
    SYS_exit_group,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_wait,
    SYS_epoll_pwait,
    SYS_poll,
    SYS_eventfd2,
    SYS_accept4,
    SYS_recvmsg,
    SYS_sendmsg,
];

/// Being one of the guest's users for a moment.
const USERS: &[c_long] = &[
    SYS_capget,
    SYS_capset,
    SYS_geteuid,
    SYS_getegid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_setgroups,
    SYS_umask,
];

/// Files, by descriptors and by names below them.
const FILES: &[c_long] = &[
    SYS_openat,
    SYS_openat2,
    SYS_close,
    SYS_dup,
    SYS_read,
    SYS_readv,
    SYS_pread64,
    SYS_preadv,
    SYS_preadv2,
    SYS_write,
    SYS_writev,
    SYS_pwrite64,
    SYS_pwritev,
    SYS_pwritev2,
    SYS_copy_file_range,
    SYS_lseek,
    SYS_fallocate,
    SYS_ftruncate,
    SYS_fsync,
    SYS_fdatasync,
    SYS_syncfs,
    SYS_flock,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_fstatfs,
    SYS_getdents64,
    SYS_readlinkat,
    SYS_linkat,
    SYS_symlinkat,
    SYS_unlinkat,
    SYS_mkdirat,
    SYS_mknodat,
    SYS_renameat,
    SYS_renameat2,
    SYS_fchdir,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchownat,
    SYS_utimensat,
    SYS_getxattr,
    SYS_setxattr,
    SYS_listxattr,
    SYS_removexattr,
    SYS_fgetxattr,
    SYS_fsetxattr,
    SYS_flistxattr,
    SYS_fremovexattr,
];

/// Restricts the calling thread, and those that it makes from now on, for good.
pub(crate) fn apply(strictness: Strictness) -> Result<(), SeccompError> {
    apply_filter(&compile(strictness)?).map_err(SeccompError::Install)
}

fn compile(strictness: Strictness) -> Result<BpfProgram, SeccompError> {
    let otherwise = match strictness {
        Strictness::Refuse => SeccompAction::Errno(ENOSYS.unsigned_abs()),
        #[cfg(debug_assertions)]
        Strictness::Log => SeccompAction::Log,
    };
    SeccompFilter::new(rules(), otherwise, SeccompAction::Allow, TargetArch::x86_64)
        .and_then(TryInto::try_into)
        .map_err(SeccompError::Compile)
}

fn rules() -> BTreeMap<c_long, Vec<SeccompRule>> {
    let mut rules: BTreeMap<_, _> = [PROCESS, USERS, FILES]
        .concat()
        .into_iter()
        .map(|call| (call, Vec::new()))
        .collect();
    // Threads have working directories of their own, for extended attributes.
    rules.insert(SYS_unshare, vec![equals(0, CLONE_FS.unsigned_abs().into())]);
    // To abort. Root could signal others, too.
    let ourselves = u64::from(std::process::id());
    rules.insert(SYS_tgkill, vec![equals(0, ourselves)]);
    rules.insert(SYS_fcntl, descriptor_rules());
    rules
}

/// What is done with descriptors. With others of its commands a process has signals sent to any other, and
/// root needs no capability for that.
fn descriptor_rules() -> Vec<SeccompRule> {
    let harmless = [F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC];
    let mut rules: Vec<_> = harmless
        .iter()
        .map(|command| equals(1, command.unsigned_abs().into()))
        .collect();
    let no_signals = SeccompCmpOp::MaskedEq(O_ASYNC.unsigned_abs().into());
    rules.push(all(&[
        (1, SeccompCmpOp::Eq, F_SETFL.unsigned_abs().into()),
        (2, no_signals, 0),
    ]));
    rules
}

fn equals(argument: u8, value: u64) -> SeccompRule {
    all(&[(argument, SeccompCmpOp::Eq, value)])
}

/// Each an argument, and how it compares to what.
fn all(conditions: &[(u8, SeccompCmpOp, u64)]) -> SeccompRule {
    let condition = |(argument, operator, value): &(u8, SeccompCmpOp, u64)| {
        let size = SeccompCmpArgLen::Dword;
        SeccompCondition::new(*argument, size, operator.clone(), *value)
            .expect("a call has six arguments")
    };
    SeccompRule::new(conditions.iter().map(condition).collect()).expect("there is a condition")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles() {
        assert!(!compile(Strictness::Refuse).unwrap().is_empty());
    }

    #[test]
    fn nothing_leads_out_of_the_root_or_to_other_processes() {
        let rules = rules();
        for call in [
            SYS_open_by_handle_at,
            SYS_mount,
            SYS_move_mount,
            SYS_open_tree,
            SYS_pivot_root,
            SYS_chroot,
            SYS_setns,
            SYS_kill,
            SYS_tkill,
            SYS_pidfd_open,
            SYS_pidfd_send_signal,
            SYS_ptrace,
            SYS_process_vm_writev,
            SYS_execve,
            SYS_execveat,
            SYS_socket,
            SYS_connect,
            SYS_bpf,
            SYS_io_uring_setup,
            SYS_ioctl,
        ] {
            assert!(!rules.contains_key(&call), "call {call}");
        }
        for call in [SYS_fcntl, SYS_tgkill, SYS_unshare] {
            assert!(!rules[&call].is_empty(), "call {call}");
        }
    }
}
