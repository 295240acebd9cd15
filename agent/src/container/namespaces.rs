//! Namespaces: joining those of the pod, of another container, and making our own.
#![expect(unsafe_code, reason = "rustix calls unshare unsafe")]
// UNSAFETY: unshare can pull the descriptor table away from other threads that share it; the flags used
// here never do, and stage-1 has one thread.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{fchdir, pivot_root};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, UnshareFlags, move_into_link_name_space,
    move_into_thread_name_spaces, unshare_unsafe,
};

use super::mounts::{MountError, copy_of, new_filesystem};
use crate::stage1::channel::Fds;
use crate::stage1::spec::{PodJob, Role};
use crate::sys::mount_attr::MountAttr;

/// Why a namespace could not be made or joined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NamespaceError {
    /// An existing one.
    #[error("join the {0} namespace")]
    Join(&'static str, #[source] Errno),
    /// A new one.
    #[error("make the {0} namespace")]
    Make(&'static str, #[source] Errno),
    /// The pod's /dev/shm.
    #[error("make the pod's /dev/shm")]
    Shm(#[source] MountError),
    /// The name that the pod's processes see.
    #[error("set host name {name:?}")]
    Hostname {
        /// Wanted.
        name: String,
        /// Why not.
        source: Errno,
    },
    /// A kernel parameter.
    #[error("set sysctl {name} to {value:?}")]
    Sysctl {
        /// As a path below /proc/sys.
        name: String,
        /// Wanted.
        value: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// Joins those namespaces of the pod that came with the job.
pub(crate) fn join_pod(fds: &Fds) -> Result<(), NamespaceError> {
    use LinkNameSpaceType as Kind;
    let all = [
        (Role::NetworkNamespace, "network", Kind::Network),
        (Role::IpcNamespace, "IPC", Kind::InterProcessCommunication),
        (Role::UtsNamespace, "UTS", Kind::HostNameAndNISDomainName),
    ];
    for (role, name, kind) in all {
        if let Some(fd) = fds.get(role) {
            move_into_link_name_space(fd, Some(kind))
                .map_err(|error| NamespaceError::Join(name, error))?;
        }
    }
    // Children will be in it; the caller itself can't.
    if let Some(process) = fds.get(Role::PidNamespaceOf) {
        join_pid_namespace_of(process)?;
    }
    Ok(())
}

/// Children of the caller will be in the PID namespace of `process`, a pidfd.
pub(crate) fn join_pid_namespace_of(process: BorrowedFd<'_>) -> Result<(), NamespaceError> {
    move_into_thread_name_spaces(process, ThreadNameSpaceType::PROCESS_ID)
        .map_err(|error| NamespaceError::Join("PID", error))
}

/// Joins all namespaces of a container but the PID namespace, by a pidfd of its first process.
pub(crate) fn join_container(process: BorrowedFd<'_>) -> Result<(), NamespaceError> {
    let all = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::CONTROL_GROUP
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::NETWORK;
    move_into_thread_name_spaces(process, all)
        .map_err(|error| NamespaceError::Join("container's", error))
}

/// Makes the cgroup we are in the root of the hierarchy, as far as we and our children can see.
pub(crate) fn own_cgroup_view() -> Result<(), NamespaceError> {
    make("cgroup", UnshareFlags::NEWCGROUP)
}

/// A detached mount for a container's /dev/shm: the pod's, or else the host's.
pub(crate) fn shm(fds: &Fds, host_ipc: bool) -> Result<OwnedFd, NamespaceError> {
    if host_ipc {
        return copy_of("/dev/shm").map_err(NamespaceError::Shm);
    }
    let join = |error| NamespaceError::Join("pod's /dev/shm", error);
    let theirs = fds.get(Role::ShmNamespace).ok_or(join(Errno::BADF))?;
    let ours = namespace("mnt").map_err(join)?;
    move_into_link_name_space(theirs, Some(LinkNameSpaceType::Mount)).map_err(join)?;
    let copy = copy_of("/").map_err(NamespaceError::Shm);
    move_into_link_name_space(ours.as_fd(), Some(LinkNameSpaceType::Mount)).map_err(join)?;
    copy
}

/// The namespaces that a pod's containers share, made by the calling process.
pub(crate) struct PodNamespaces {
    pub(crate) ipc: Option<OwnedFd>,
    pub(crate) uts: Option<OwnedFd>,
    /// A mount namespace that holds nothing but the pod's /dev/shm, as its root.
    pub(crate) shm: Option<OwnedFd>,
}

/// Makes the pod's namespaces and sets in them what was asked for.
pub(crate) fn make_pod(job: &PodJob) -> Result<PodNamespaces, NamespaceError> {
    let mut made = PodNamespaces {
        ipc: None,
        uts: None,
        shm: None,
    };
    if !job.host_uts {
        make("UTS", UnshareFlags::NEWUTS)?;
        set_hostname(&job.hostname)?;
        made.uts = Some(namespace("uts").map_err(|e| NamespaceError::Make("UTS", e))?);
    }
    if !job.host_ipc {
        make("IPC", UnshareFlags::NEWIPC)?;
        made.ipc = Some(namespace("ipc").map_err(|e| NamespaceError::Make("IPC", e))?);
    }
    for (name, value) in &job.sysctls {
        set_sysctl(name, value)?;
    }
    if !job.host_ipc {
        // Last: afterwards there is no /proc any more.
        made.shm = Some(make_shm(job.shm_bytes)?);
    }
    Ok(made)
}

fn make(name: &'static str, flag: UnshareFlags) -> Result<(), NamespaceError> {
    // SAFETY: none of the flags that the callers pass is `FILES`.
    unsafe { unshare_unsafe(flag) }.map_err(|error| NamespaceError::Make(name, error))
}

fn set_hostname(name: &str) -> Result<(), NamespaceError> {
    if name.is_empty() {
        return Ok(());
    }
    rustix::system::sethostname(name.as_bytes()).map_err(|source| NamespaceError::Hostname {
        name: name.to_owned(),
        source,
    })
}

fn set_sysctl(name: &str, value: &str) -> Result<(), NamespaceError> {
    std::fs::write(format!("/proc/sys/{name}"), value).map_err(|source| NamespaceError::Sysctl {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    })
}

/// Makes a mount namespace whose root is a new tmpfs. The mounts of the host are not kept alive in it:
/// a file system that the host unmounts must really go.
fn make_shm(bytes: u64) -> Result<OwnedFd, NamespaceError> {
    make("mount", UnshareFlags::NEWNS)?;
    let ours = namespace("mnt").map_err(|e| NamespaceError::Make("mount", e))?;
    let size = bytes.to_string();
    let options = [("mode", Some("1777")), ("size", Some(size.as_str()))];
    let shm =
        new_filesystem("tmpfs", &options, MountAttr::default()).map_err(NamespaceError::Shm)?;
    become_root(&shm).map_err(|error| NamespaceError::Shm(MountError::Pivot(error)))?;
    Ok(ours)
}

/// Makes `mount` the root of this mount namespace and lets go of all others.
pub(crate) fn become_root(mount: &OwnedFd) -> rustix::io::Result<()> {
    use rustix::mount::{MoveMountFlags, move_mount};
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    let place = open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", &place, "", flags)?;
    fchdir(mount)?;
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}

fn namespace(name: &str) -> rustix::io::Result<OwnedFd> {
    let path = format!("/proc/thread-self/ns/{name}");
    open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}
