//! keyctl(2), as far as leaving the keyring of whoever started us needs it.
#![expect(unsafe_code, reason = "no safe binding of keyctl exists")]
// UNSAFETY: the system call takes a pointer to an optional name.

use std::ptr;

use rustix::io::Errno;

use super::checked;

/// Joins a new session keyring, so that keys of the host are out of reach. Fine where the kernel has no
/// keyrings, or a filter keeps us from them: then the process can't get at any either.
pub(crate) fn join_new_session() -> rustix::io::Result<()> {
    // SAFETY: no name is given, which asks for an anonymous keyring.
    match checked(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_JOIN_SESSION_KEYRING,
            ptr::null::<libc::c_char>(),
        )
    }) {
        Ok(_) | Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        Err(error) => Err(error),
    }
}
