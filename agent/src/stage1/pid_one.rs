//! PID 1 of a pod's shared PID namespace: reaps what nobody else waits for, and does nothing else.
//!
//! Processes of the pod see it, so it keeps nothing that would be worth having: no capabilities, no
//! descriptors, an empty root.

use std::os::fd::OwnedFd;

use rustix::process::{WaitOptions, wait};
use rustix::thread::{set_name, set_no_new_privs};

use super::spec::{Identity, Told};
use super::{Error, fork, tell};
use crate::container::capabilities::drop_all;
use crate::container::mounts::{MountError, new_filesystem};
use crate::container::namespaces::become_root;
use crate::sys::clone::NewNamespaces;
use crate::sys::mount_attr::MountAttr;
use crate::sys::signals;

pub(super) fn run(agent: &mut OwnedFd) -> Result<(), Error> {
    let new = NewNamespaces {
        pid: true,
        mount: true,
    };
    if fork(new, (), |()| None, agent)?.is_some() {
        retire()?;
        // What a process list in the pod shows.
        set_name(c"pause").map_err(Error::Hide)?;
        // Before the agent hears of it: a child that ends from now on is kept until we wait for it.
        signals::block_all();
        tell(agent, Told::Ready(Identity::default()), &[])?;
        let_go(agent).map_err(|e| Error::Stdio("streams", e))?;
        reap_for_ever();
    }
    Ok(())
}

fn retire() -> Result<(), Error> {
    let options = [("size", Some("4k")), ("mode", Some("555"))];
    let attr = MountAttr {
        readonly: true,
        ..MountAttr::default()
    };
    let empty = new_filesystem("tmpfs", &options, attr)?;
    become_root(&empty).map_err(MountError::Pivot)?;
    drop(empty);
    drop_all()?;
    set_no_new_privs(true).map_err(Error::NoNewPrivileges)
}

/// Keeps no stream that leads anywhere, the agent's log included. Not by shutting the socket down:
/// our parent shares it, and may not have told the agent of us yet.
fn let_go(agent: &mut OwnedFd) -> rustix::io::Result<()> {
    let (nothing, _) = rustix::pipe::pipe()?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;
    rustix::io::dup2(&nothing, agent)
}

fn reap_for_ever() -> ! {
    loop {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        signals::wait_for_child();
    }
}
