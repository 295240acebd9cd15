//! execve(2) and close_range(2): the last things that stage-1 does.
#![expect(
    unsafe_code,
    reason = "no safe binding of execve and close_range exists"
)]
// UNSAFETY: execve takes arrays of C strings, and closing all descriptors pulls them away from whoever
// thinks to own them, which only a process can afford that does nothing else any more.

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::io::Errno;

use super::checked;

/// Replaces the program of this process; returns only where that failed.
pub(crate) fn execve(path: &CStr, args: &[CString], env: &[CString]) -> Errno {
    let args = pointers(args);
    let env = pointers(env);
    // SAFETY: both arrays end in null and point to C strings that outlive the call.
    let returned = unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    failure(returned.into())
}

/// Replaces the program of this process by the one that `file` is open on.
pub(crate) fn execve_fd(file: BorrowedFd<'_>, args: &[CString], env: &[CString]) -> Errno {
    let args = pointers(args);
    let env = pointers(env);
    // SAFETY: both arrays end in null and point to C strings that outlive the call; so does the path.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            args.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    failure(returned)
}

/// Closes every descriptor above stderr that is not one of `kept`.
///
/// Nobody may use an owner of any other afterwards; that they are closed a second time when such an owner is
/// dropped does no harm in a process that is about to execute or to end.
pub(crate) fn close_all_but(kept: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
    let mut kept: Vec<u32> = kept
        .iter()
        .map(|fd| fd.as_raw_fd().unsigned_abs())
        .collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if first < fd {
            close_range(first, fd - 1)?;
        }
        first = first.max(fd + 1);
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> rustix::io::Result<()> {
    // SAFETY: the one caller's contract is that nobody uses what is closed.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}

fn failure(returned: libc::c_long) -> Errno {
    checked(returned).err().unwrap_or(Errno::IO)
}
