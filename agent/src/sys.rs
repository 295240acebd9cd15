//! System calls that rustix does not offer, each behind a safe function.

pub(crate) mod bpf;
pub(crate) mod clone;
pub(crate) mod exec;
pub(crate) mod inherited;
pub(crate) mod keyring;
pub(crate) mod mount_attr;
pub(crate) mod readiness;
pub(crate) mod seccomp;
pub(crate) mod signals;
pub(crate) mod vsock;

use rustix::io::Errno;

/// What a raw system call returned, as a result.
fn checked(returned: libc::c_long) -> rustix::io::Result<libc::c_long> {
    if returned < 0 {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    } else {
        Ok(returned)
    }
}
