//! Signals that end other processes and not this one.
//!
//! A machine ends when its guest does, when the sandbox says so, or by SIGKILL. A terminal that closes or an
//! operator who stops a service must not take pods with it.

use std::io;

use rustix::process::Signal;
use vmm_sys_util::signal::register_signal_handler;

const IGNORED: [Signal; 6] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
];

/// Makes those signals do nothing.
pub fn ignore() -> io::Result<()> {
    for signal in IGNORED {
        register_signal_handler(signal.as_raw(), nothing)?;
    }
    Ok(())
}

/// Not `SIG_IGN`, which takes unsafe code to set: a handler that does nothing only makes system calls return
/// early, which they do for other reasons, too.
extern "C" fn nothing(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
