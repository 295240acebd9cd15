//! A container's file tree, put together inside its own mount namespace.
//!
//! Every mount is made detached, as a descriptor, and attached to a place that was resolved inside the
//! container's root. So no path of a container is ever looked up against the host, and nothing is ever
//! mounted where the host could see it.
//!
//! Order matters: sources are opened while the host's mounts are still the host's (so that propagation
//! works), then the namespace is cut off, then the tree is built, and last comes what only takes away.

mod error;
mod files;
mod filesystem;
mod nodes;
mod requested;
mod restrictions;
mod rootfs;
mod standard;

use std::os::fd::{AsFd, OwnedFd};

use agent_api::v1;
use rustix::fs::OFlags;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{fchdir, pivot_root};

pub(crate) use error::MountError;

use super::root::{Missing, Root};
use super::tty::Terminal;
use crate::stage1::spec::InitJob;
use crate::sys::mount_attr::{MountAttr, Propagation, Reach};

/// A container's tree, complete but not yet our root.
pub(crate) struct Tree {
    root: OwnedFd,
    /// Root directory of its devpts.
    devpts: OwnedFd,
}

/// Builds the tree of `job`'s container. `shm` is a detached mount for its /dev/shm.
///
/// The caller is in new mount, PID and cgroup namespaces, and in the pod's others.
pub(crate) fn build(job: &InitJob, shm: OwnedFd) -> Result<Tree, MountError> {
    let container = job
        .container
        .as_ref()
        .ok_or(MountError::Incomplete("container"))?;
    let prepared = requested::prepare(&container.mounts)?;
    cut_off()?;
    let root = rootfs::attach_overlay(container)?;
    let inside = Root::at(root.as_fd());
    files::write(
        inside,
        &container.files,
        &container.mounts,
        files::Pass::Rootfs,
    )?;
    let devpts = standard::attach(inside, container.privileged, shm)?;
    nodes::make_all(inside, &job.nodes)?;
    prepared
        .into_iter()
        .try_for_each(|mount| mount.attach(inside))?;
    files::write(
        inside,
        &container.files,
        &container.mounts,
        files::Pass::Mounts,
    )?;
    make_cwd(inside, container)?;
    restrictions::apply(inside, container)?;
    finish_root(&root, container)?;
    Ok(Tree { root, devpts })
}

impl Tree {
    /// Makes the tree this process's root and lets go of everything else but the root directory of its devpts.
    pub(crate) fn enter(self) -> Result<OwnedFd, MountError> {
        let entered = || -> rustix::io::Result<()> {
            fchdir(&self.root)?;
            // Both names mean the new root: the old one ends up on top of it and is taken off at once,
            // so that no directory for it is needed.
            pivot_root(".", ".")?;
            unmount(".", UnmountFlags::DETACH)?;
            rustix::process::chdir("/")
        };
        entered().map_err(MountError::Pivot)?;
        Ok(self.devpts)
    }
}

/// Puts the container's terminal at /dev/console, where programs that run as PID 1 look for it.
pub(crate) fn bind_console(
    root: Root<'_>,
    devpts: &OwnedFd,
    terminal: &Terminal,
) -> Result<(), MountError> {
    const CONSOLE: &str = "/dev/console";
    let copied = || -> rustix::io::Result<OwnedFd> {
        let path = rustix::pty::ptsname(&terminal.master, Vec::new())?;
        let number = path
            .to_bytes()
            .rsplit(|&byte| byte == b'/')
            .next()
            .unwrap_or_default();
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let place = rustix::fs::openat(devpts, number, flags, rustix::fs::Mode::empty())?;
        filesystem::copy(place.as_fd(), Reach::One)
    };
    let mount = copied().map_err(|source| MountError::Node {
        path: CONSOLE.to_owned(),
        source,
    })?;
    filesystem::attach(&mount, root, CONSOLE, Missing::File)
}

/// From here on nothing that is mounted or unmounted reaches the host, nor comes from it.
fn cut_off() -> Result<(), MountError> {
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(MountError::CutOff)
}

/// Images name working directories that they do not have.
fn make_cwd(root: Root<'_>, container: &v1::CreateContainerRequest) -> Result<(), MountError> {
    let cwd = container
        .process
        .as_ref()
        .map_or("/", |process| process.cwd.as_str());
    if cwd.is_empty() {
        return Ok(());
    }
    if !cwd.starts_with('/') {
        return Err(MountError::RelativeCwd(cwd.to_owned()));
    }
    root.resolve_or_create(cwd, Missing::Directory)
        .map(drop)
        .map_err(|source| MountError::Cwd {
            path: cwd.to_owned(),
            source,
        })
}

fn finish_root(root: &OwnedFd, container: &v1::CreateContainerRequest) -> Result<(), MountError> {
    let attr = MountAttr {
        readonly: container.readonly_rootfs,
        propagation: propagation(&container.rootfs_propagation)?,
        ..MountAttr::default()
    };
    attr.apply(root, Reach::One)
        .map_err(|source| MountError::Change {
            target: "/".to_owned(),
            source,
        })
}

/// As mount(8) names them.
fn propagation(name: &str) -> Result<Option<Propagation>, MountError> {
    Ok(Some(match name {
        "" => return Ok(None),
        "private" | "rprivate" => Propagation::Private,
        "slave" | "rslave" => Propagation::Slave,
        "shared" | "rshared" => Propagation::Shared,
        other => return Err(MountError::Propagation(other.to_owned())),
    }))
}

/// A detached copy of the directory or file at `path` of this namespace, with all that is mounted below.
pub(crate) fn copy_of(path: &str) -> Result<OwnedFd, MountError> {
    filesystem::open_path(path)
        .and_then(|fd| filesystem::copy(fd.as_fd(), Reach::Tree))
        .map_err(|source| MountError::Source {
            path: path.to_owned(),
            source,
        })
}

pub(crate) use filesystem::new as new_filesystem;
pub(crate) use nodes::STANDARD as STANDARD_NODES;
