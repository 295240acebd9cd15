//! Signals as the agent takes them: SIGCHLD as a descriptor, most others not at all.
#![expect(
    unsafe_code,
    reason = "no safe binding of sigprocmask, sigaction and signalfd exists"
)]
// UNSAFETY: these calls take pointers to signal sets.

use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

use super::checked;

/// Blocks SIGCHLD in this thread and returns a descriptor that is readable while one is pending.
/// Call it before other threads are started: they inherit the mask.
pub(crate) fn sigchld_fd() -> rustix::io::Result<OwnedFd> {
    let set = set_of(&[libc::SIGCHLD]);
    // SAFETY: the set is initialised; the old mask is not asked for.
    checked(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) }.into())?;
    // SAFETY: the set is initialised; -1 asks for a new descriptor.
    let fd = checked(
        unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) }
            .into(),
    )?;
    let fd = i32::try_from(fd).expect("descriptors are ints");
    // SAFETY: it was just made and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Ignores `signals` in this process.
pub(crate) fn ignore(signals: &[libc::c_int]) {
    for &signal in signals {
        // SAFETY: SIG_IGN is a valid disposition; no handler runs.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Gives every signal its default disposition and unblocks all, as a new program expects.
pub(crate) fn reset() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is a valid disposition; numbers that can't be changed are refused, harmlessly.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let empty = set_of(&[]);
    // SAFETY: the set is initialised; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, ptr::null_mut()) };
}

/// Blocks all signals, then waits until SIGCHLD is pending and takes it.
pub(crate) fn wait_for_child() {
    let set = set_of(&[libc::SIGCHLD]);
    let mut signal = 0;
    // SAFETY: both pointers are to live values.
    unsafe { libc::sigwait(&raw const set, &raw mut signal) };
}

/// Blocks every signal that can be blocked.
pub(crate) fn block_all() {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the set.
    let set = unsafe {
        libc::sigfillset(set.as_mut_ptr());
        set.assume_init()
    };
    // SAFETY: the set is initialised; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut()) };
}

fn set_of(signals: &[libc::c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set.
    let mut set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    };
    for &signal in signals {
        // SAFETY: the set is initialised.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

/// The signal with this number, which must be one that Linux has.
///
/// # Panics
/// Where the number is not between 1 and 64.
pub(crate) fn by_number(number: libc::c_int) -> rustix::process::Signal {
    assert!((1..=64).contains(&number), "no signal {number}");
    // SAFETY: it is a signal's number. Those that the C library keeps for itself mean nothing to it
    // where they are only sent to other processes.
    unsafe { rustix::process::Signal::from_raw_unchecked(number) }
}
