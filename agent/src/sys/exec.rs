//! execve(2) and close_range(2): the last things that stage-1 does.
#![expect(
    unsafe_code,
    reason = "no safe binding of execve and close_range exists"
)]
// UNSAFETY: execve takes arrays of C strings, and closing all descriptors pulls them away from whoever
// thinks to own them, which is why only marking them close-on-exec is offered.

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

/// Marks every descriptor above stderr close-on-exec.
pub(crate) fn close_others_on_exec() -> rustix::io::Result<()> {
    // SAFETY: marking takes no descriptor away from its owner.
    checked(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })
    .map(drop)
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
