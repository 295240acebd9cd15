//! Locking this process in, before it hears a word from anybody.
//!
//! It is started as root in the pod's cgroup, keeps the descriptors it has, and gives up everything
//! else: paths (an empty root), users (its own uid, in a user namespace where no other exists),
//! capabilities, core dumps, being traced. System calls go later, thread by thread ([`crate::seccomp`]).

use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use rustix::process::{
    DumpableBehavior, Gid, Resource, Rlimit, Uid, chdir, pivot_root, set_dumpable_behavior,
    setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, UnshareFlags, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid, unshare_unsafe,
};

/// Most descriptors: streams, disks, logs, and a few of our own.
const MAX_DESCRIPTORS: u64 = 8192;

/// The process could not lock itself in.
#[derive(Debug, thiserror::Error)]
#[error("lock the process in: {doing}")]
pub struct JailError {
    doing: &'static str,
    source: std::io::Error,
}

/// Who the process becomes.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// User. Not root.
    pub uid: u32,
    /// Group. Not root's.
    pub gid: u32,
}

fn step(doing: &'static str, result: rustix::io::Result<()>) -> Result<(), JailError> {
    result.map_err(|error| JailError {
        doing,
        source: error.into(),
    })
}

/// Locks the calling process in. It must have one thread only, since much of this is of a thread.
pub fn enter(identity: Identity) -> Result<(), JailError> {
    step("refuse to run as root", refuse_root(identity))?;
    limit_resources()?;
    leave_the_file_system()?;
    become_nobody(identity)?;
    enter_user_namespace()?;
    drop_capabilities()?;
    step("give up gaining privileges", set_no_new_privs(true))?;
    step(
        "refuse to be traced",
        set_dumpable_behavior(DumpableBehavior::NotDumpable),
    )
}

fn refuse_root(identity: Identity) -> rustix::io::Result<()> {
    if identity.uid == 0 || identity.gid == 0 {
        return Err(Errno::INVAL);
    }
    Ok(())
}

fn limit_resources() -> Result<(), JailError> {
    for (resource, limit) in [
        (Resource::Core, 0),
        (Resource::Nofile, MAX_DESCRIPTORS),
        // Locked memory and message queues are for nothing here.
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
    ] {
        let limit = Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        step("limit resources", setrlimit(resource, limit))?;
    }
    Ok(())
}

/// Makes an empty file system that can't be written to the root, and lets go of all others.
fn leave_the_file_system() -> Result<(), JailError> {
    step("make a mount namespace", unshare(UnshareFlags::NEWNS))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    step("keep mounts to ourselves", mount_change("/", private))?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // Any directory will do to put it on: nobody sees it there.
    step(
        "mount an empty root",
        mount(
            "none",
            "/proc",
            "tmpfs",
            flags,
            c"size=4k,nr_inodes=2,mode=555",
        ),
    )?;
    step("go to the empty root", chdir("/proc"))?;
    // With both the same, the old root ends up on top of the new one, and is taken off there.
    step("change the root", pivot_root(".", "."))?;
    step("let go of the old root", unmount(".", UnmountFlags::DETACH))?;
    step("go to the root", chdir("/"))
}

fn become_nobody(identity: Identity) -> Result<(), JailError> {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    step("leave all groups", set_thread_groups(&[]))?;
    step("change the group", set_thread_res_gid(gid, gid, gid))?;
    step("change the user", set_thread_res_uid(uid, uid, uid))
}

/// Enters a user namespace that no user is mapped into, so that there is nobody to become. Hosts may forbid
/// it; everything else then has to do.
fn enter_user_namespace() -> Result<(), JailError> {
    match unshare(UnshareFlags::NEWUSER) {
        Err(error @ (Errno::PERM | Errno::NOSPC | Errno::INVAL)) => {
            tracing::info!(%error, "the host allows no user namespace of our own");
            Ok(())
        }
        result => step("make a user namespace", result),
    }
}

fn drop_capabilities() -> Result<(), JailError> {
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // Without a user namespace they went with the user; the set says what could come back
            // through an executable, of which there is none.
            Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
            result => step("bound capabilities", result)?,
        }
    }
    step("drop ambient capabilities", clear_ambient_capability_set())?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    step("drop capabilities", set_capabilities(None, none))
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
