//! Starting a program without copying the memory of the one who starts it.

// UNSAFETY: the standard library's `Command` forks as soon as descriptors or a session are wanted,
// which copies the page tables of a large server for each pod; `posix_spawn` does not, and has no
// safe wrapper.
#![expect(unsafe_code, reason = "posix_spawn has no safe wrapper")]

use std::ffi::{CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use super::{Launch, null};

/// The first descriptor beyond input and output.
const FIRST: RawFd = 3;

/// Descriptors are first moved out of the way of those that they become.
const AWAY: RawFd = 64;

/// What it finds in its environment, and nothing of ours.
const ENVIRONMENT: [&str; 1] =
    ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];

/// Starts `launch` as a child in a session of its own, without signals blocked or ignored. Answers its pid.
pub(super) fn spawn(launch: &Launch<'_>) -> io::Result<u32> {
    let program = c_string(launch.program.as_os_str())?;
    let mut args = vec![program.clone()];
    for arg in &launch.args {
        args.push(c_string(arg)?);
    }
    let environment: Vec<_> = ENVIRONMENT
        .iter()
        .map(|entry| c_string(OsStr::new(entry)))
        .collect::<io::Result<_>>()?;

    let null = away(&null()?)?;
    let output = away(&launch.output)?;
    let passed: Vec<OwnedFd> = launch
        .descriptors
        .iter()
        .map(away)
        .collect::<io::Result<_>>()?;

    let mut actions = Actions::new()?;
    actions.place(&null, 0)?;
    actions.place(&output, 1)?;
    actions.place(&output, 2)?;
    for (target, fd) in (FIRST..AWAY).zip(&passed) {
        actions.place(fd, target)?;
    }
    let beyond = FIRST + RawFd::try_from(passed.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    actions.close_from(beyond)?;
    actions.go_to_root()?;
    let attributes = Attributes::new()?;
    run(&program, &actions, &attributes, &args, &environment)
}

fn run(
    program: &CString,
    actions: &Actions,
    attributes: &Attributes,
    args: &[CString],
    environment: &[CString],
) -> io::Result<u32> {
    let args = pointers(args);
    let environment = pointers(environment);
    let mut pid = 0;
    // SAFETY: every pointer is to a value that outlives the call: `program`, the two null-ended
    // arrays and what they point to, and the two initialised structures.
    let failed = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            args.as_ptr(),
            environment.as_ptr(),
        )
    };
    check(failed)?;
    u32::try_from(pid).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// A copy of a descriptor with a number that no target has, not inherited by anybody.
fn away(fd: &impl std::os::fd::AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, AWAY)?)
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// The array that exec takes: pointers, and null at the end.
fn pointers(strings: &[CString]) -> Vec<*mut libc::c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr().cast_mut())
        .chain([ptr::null_mut()])
        .collect()
}

/// These functions answer the number of the error rather than set it.
fn check(failed: libc::c_int) -> io::Result<()> {
    match failed {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// What happens to descriptors between the copy of the process and the program's start.
struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the structure is ours and large enough, which is all that is asked of it.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: the call above has initialised it.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    fn place(&mut self, fd: &OwnedFd, target: RawFd) -> io::Result<()> {
        // SAFETY: the structure is initialised; descriptors are only numbers here.
        check(unsafe {
            libc::posix_spawn_file_actions_adddup2(&raw mut self.0, fd.as_raw_fd(), target)
        })
    }

    /// Closes what whoever started *us* left open, which may not be marked for closing.
    fn close_from(&mut self, first: RawFd) -> io::Result<()> {
        // SAFETY: the structure is initialised; descriptors are only numbers here.
        check(unsafe { libc::posix_spawn_file_actions_addclosefrom_np(&raw mut self.0, first) })
    }

    /// A process that lives long keeps no file system busy.
    fn go_to_root(&mut self) -> io::Result<()> {
        // SAFETY: the structure is initialised, and the path, which is copied, ends with a null.
        check(unsafe { libc::posix_spawn_file_actions_addchdir_np(&raw mut self.0, c"/".as_ptr()) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: the structure is initialised and not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

/// A session of its own, and signals as a fresh program expects them.
struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the structure is ours and large enough, which is all that is asked of it.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: the call above has initialised it.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        attributes.set_signals()?;
        let flags = [
            // The C library's headers disagree about the width of these.
            libc::c_int::from(libc::POSIX_SPAWN_SETSID),
            libc::POSIX_SPAWN_SETSIGMASK,
            libc::POSIX_SPAWN_SETSIGDEF,
        ]
        .into_iter()
        .fold(0, std::ops::BitOr::bitor);
        let flags = libc::c_short::try_from(flags).expect("the flags are small numbers");
        // SAFETY: the structure is initialised.
        check(unsafe { libc::posix_spawnattr_setflags(&raw mut attributes.0, flags) })?;
        Ok(attributes)
    }

    fn set_signals(&mut self) -> io::Result<()> {
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the set is ours to initialise.
        unsafe { libc::sigemptyset(none.as_mut_ptr()) };
        // SAFETY: the set is ours to initialise.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: both structures are initialised; the set is copied.
        check(unsafe { libc::posix_spawnattr_setsigmask(&raw mut self.0, none.as_ptr()) })?;
        // SAFETY: both structures are initialised; the set is copied.
        check(unsafe { libc::posix_spawnattr_setsigdefault(&raw mut self.0, all.as_ptr()) })
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: the structure is initialised and not used again.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}
