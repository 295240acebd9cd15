//! Becomes the first process of a container.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::Mode;
use rustix::process::{setsid, umask};

use super::r#become::Become;
use super::channel::Fds;
use super::spec::{InitJob, Role};
use super::streams::Stdio;
use super::{Error, fork};
use crate::container::lsm::Labels;
use crate::container::root::Root;
use crate::container::tty::Terminal;
use crate::container::{mounts, namespaces, user};
use crate::sys::clone::NewNamespaces;
use crate::sys::keyring::join_new_session;

pub(super) fn run(job: &InitJob, fds: Fds, agent: &OwnedFd) -> Result<(), Error> {
    namespaces::join_pod(&fds)?;
    let new = NewNamespaces {
        pid: job.new_pid_namespace,
        mount: true,
    };
    match fork(new, fds, |fds| fds.get(Role::Cgroup), agent)? {
        Some(fds) => child(job, fds, agent),
        None => Ok(()),
    }
}

fn child(job: &InitJob, mut fds: Fds, agent: &OwnedFd) -> Result<(), Error> {
    let container = job
        .container
        .as_ref()
        .ok_or(Error::Incomplete("container"))?;
    let process = container
        .process
        .as_ref()
        .ok_or(Error::Incomplete("process"))?;
    setsid().map_err(Error::Session)?;
    join_new_session().map_err(Error::Keyring)?;
    umask(Mode::empty());
    if !container.privileged {
        namespaces::own_cgroup_view()?;
    }
    // What needs the host's /proc comes before the tree is entered.
    let labels = Labels::open(process)?;
    super::r#become::set_oom_score(process)?;
    let shm = namespaces::shm(&fds, job.host_ipc)?;
    let devpts = mounts::build(job, shm)?.enter()?;

    let root = rustix::fs::open(
        "/",
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|source| Error::Cwd {
        path: "/".to_owned(),
        source,
    })?;
    let identity = user::look_up(
        &process.user.clone().unwrap_or_default(),
        Root::at(root.as_fd()),
    )?;
    let stdio = if process.terminal {
        let terminal = Terminal::open(devpts.as_fd(), process.width, process.height)?;
        mounts::bind_console(Root::at(root.as_fd()), &devpts, &terminal)?;
        Stdio::Terminal(terminal)
    } else {
        Stdio::streams(&mut fds)
    };
    // Nothing of the host's stays open for the program to find.
    drop((root, fds));
    Become {
        process,
        identity,
        stdio,
        labels,
        devpts: Some(devpts),
    }
    .run(agent)
}
