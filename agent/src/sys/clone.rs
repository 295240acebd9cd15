//! clone3(2): a child in new namespaces and in a cgroup of its own from its first instruction.
#![expect(unsafe_code, reason = "no safe binding of clone3 exists")]
// UNSAFETY: clone3 duplicates the process like fork. In a process with other threads the child could
// meet locks that nobody holds any more, so only single-threaded stage-1 processes may call it.

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

use super::checked;

/// `struct clone_args` as of `CLONE_INTO_CGROUP` (Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Above 32 bits, where the C library's constant does not reach.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which new namespaces the child gets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NewNamespaces {
    pub(crate) pid: bool,
    pub(crate) mount: bool,
}

/// Which of the two processes returned from [`clone_sibling`].
pub(crate) enum Side {
    /// The caller, with the child's number in the caller's PID namespace and a pidfd of it.
    Parent(Pid, OwnedFd),
    /// The new process.
    Child,
}

/// Forks a child whose parent is our parent, so that the agent reaps it and not we.
///
/// # Panics
/// Where the process has other threads.
pub(crate) fn clone_sibling(
    new: NewNamespaces,
    cgroup: Option<BorrowedFd<'_>>,
) -> rustix::io::Result<Side> {
    assert!(single_threaded(), "only a single-threaded process may fork");
    let mut pidfd: libc::c_int = -1;
    let mut flags = libc::CLONE_PARENT as u64 | libc::CLONE_PIDFD as u64;
    if new.pid {
        flags |= libc::CLONE_NEWPID as u64;
    }
    if new.mount {
        flags |= libc::CLONE_NEWNS as u64;
    }
    let mut args = CloneArgs {
        pidfd: (&raw mut pidfd) as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(cgroup.as_raw_fd()).expect("descriptors are not negative");
    }
    args.flags = flags;
    // SAFETY: the arguments are initialised and live through the call, the size is theirs, no stack
    // is given and CLONE_VM is not set, so the child gets a copy of everything; we are the only thread.
    let pid = checked(unsafe {
        libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>())
    })?;
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(Side::Child);
    };
    // SAFETY: the kernel stored a new descriptor there, which nothing else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Side::Parent(pid, pidfd))
}

fn single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}
