//! Locking this process in, before it reads a word of a guest.
//!
//! It stays root, since it creates files of anybody and reads those of everybody; so what it must not
//! touch must not be there. Its root directory becomes the one that volumes are mounted in, and nothing
//! else is mounted. It has no network, and can't signal or trace anybody ([`crate::seccomp`]).

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, statat};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, OpenTreeFlags, UnmountFlags, mount_bind, mount_change,
    mount_remount, open_tree, unmount,
};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, chdir, pivot_root, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{UnshareFlags, set_no_new_privs, unshare_unsafe};

/// The process could not lock itself in.
#[derive(Debug, thiserror::Error)]
#[error("lock the process in: {doing}")]
pub(crate) struct JailError {
    doing: &'static str,
    source: io::Error,
}

pub(crate) fn step<T>(doing: &'static str, result: rustix::io::Result<T>) -> Result<T, JailError> {
    result.map_err(|error| JailError {
        doing,
        source: error.into(),
    })
}

/// The directory of our own descriptors, by which files are opened again.
pub(crate) fn open_descriptors() -> Result<File, JailError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, "/proc/self/fd", flags, Mode::empty());
    step("open the directory of descriptors", opened).map(File::from)
}

/// The same for a process that is locked in: a mount of its own, which outlasts our view of /proc and has
/// nothing above it. From a mere directory `..` would lead to the root of the node.
fn mount_descriptors() -> Result<File, JailError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mounted = open_tree(CWD, "/proc/self/fd", flags);
    step("mount the directory of descriptors", mounted).map(File::from)
}

/// Whether nothing is above `directory`, as far as the process can see.
fn is_topmost(directory: &File) -> rustix::io::Result<bool> {
    let above = statat(directory, "..", AtFlags::empty())?;
    let own = fstat(directory)?;
    Ok((above.st_dev, above.st_ino) == (own.st_dev, own.st_ino))
}

/// Locks the calling process in, which must have one thread only, with `root` as its root directory. Gives
/// the directory of its descriptors, by which files are opened again.
pub(crate) fn enter(root: &Path) -> Result<File, JailError> {
    let process = mount_descriptors()?;
    match step("look above the descriptors", is_topmost(&process))? {
        true => {}
        false => step("keep the node out of reach", Err(Errno::XDEV))?,
    }
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    step("make no core dumps", setrlimit(Resource::Core, none))?;
    let namespaces = UnshareFlags::NEWNS
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    step("make namespaces", unshare(namespaces))?;
    change_root(root)?;
    step("give up gaining privileges", set_no_new_privs(true))?;
    step(
        "refuse to be traced",
        set_dumpable_behavior(DumpableBehavior::NotDumpable),
    )?;
    Ok(process)
}

fn change_root(root: &Path) -> Result<(), JailError> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    step("keep mounts to ourselves", mount_change("/", private))?;
    step("make a mount of the root", mount_bind(root, root))?;
    let flags = MountFlags::BIND
        | MountFlags::RDONLY
        | MountFlags::NOSUID
        | MountFlags::NODEV
        | MountFlags::NOEXEC;
    step("make the root read-only", mount_remount(root, flags, ""))?;
    step("go to the root", chdir(root))?;
    // With both the same, the old root ends up on top of the new one, and is taken off there.
    step("change the root", pivot_root(".", "."))?;
    step("let go of the old root", unmount(".", UnmountFlags::DETACH))?;
    step("go to the new root", chdir("/"))
}

#[expect(
    unsafe_code,
    reason = "unsharing descriptors could leave numbers without files"
)]
fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // UNSAFETY: the call can do more than we use it for.
    // SAFETY: namespaces only; the table of descriptors stays as it is.
    unsafe { unshare_unsafe(flags) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_descriptors_leads_to_open_files() {
        let directory = open_descriptors().unwrap();
        let file = tempfile::tempfile().unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file).to_string();
        rustix::fs::openat(&directory, number, OFlags::RDONLY, Mode::empty()).unwrap();
        // Which is why a process that is locked in has none like this.
        assert!(!is_topmost(&directory).unwrap());
    }
}
