//! Becomes a further process of a container, under the same restrictions as its first.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{setsid, umask};

use super::r#become::{Become, set_oom_score};
use super::channel::Fds;
use super::spec::{ExecJob, Role};
use super::streams::Stdio;
use super::{Error, fork};
use crate::container::lsm::Labels;
use crate::container::root::Root;
use crate::container::tty::Terminal;
use crate::container::{namespaces, user};
use crate::sys::clone::NewNamespaces;
use crate::sys::keyring::join_new_session;

pub(super) fn run(job: &ExecJob, fds: Fds, agent: &OwnedFd) -> Result<(), Error> {
    let container = fds
        .get(Role::Container)
        .ok_or(Error::Incomplete("container"))?;
    namespaces::join_pid_namespace_of(container)?;
    match fork(
        NewNamespaces::default(),
        fds,
        |fds| fds.get(Role::Cgroup),
        agent,
    )? {
        Some(fds) => child(job, fds, agent),
        None => Ok(()),
    }
}

fn child(job: &ExecJob, mut fds: Fds, agent: &OwnedFd) -> Result<(), Error> {
    let process = job.process.as_ref().ok_or(Error::Incomplete("process"))?;
    setsid().map_err(Error::Session)?;
    join_new_session().map_err(Error::Keyring)?;
    umask(Mode::empty());
    // What needs the host's /proc comes first: the container's may be anything.
    let labels = Labels::open(process)?;
    set_oom_score(process)?;
    let container = fds
        .take(Role::Container)
        .ok_or(Error::Incomplete("container"))?;
    namespaces::join_container(container.as_fd())?;
    drop(container);

    let identity = match &job.identity {
        Some(identity) => identity.clone(),
        None => {
            let root =
                open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|source| {
                    Error::Cwd {
                        path: "/".to_owned(),
                        source,
                    }
                })?;
            user::look_up(
                &process.user.clone().unwrap_or_default(),
                Root::at(root.as_fd()),
            )?
        }
    };
    let stdio = if process.terminal {
        let devpts = fds.take(Role::Devpts).ok_or(Error::Incomplete("devpts"))?;
        Stdio::Terminal(Terminal::open(
            devpts.as_fd(),
            process.width,
            process.height,
        )?)
    } else {
        Stdio::streams(&mut fds)
    };
    // Nothing of the host's stays open for the program to find.
    drop(fds);
    Become {
        process,
        identity,
        stdio,
        labels,
        devpts: None,
    }
    .run(agent)
}
