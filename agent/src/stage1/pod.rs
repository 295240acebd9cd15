//! Makes a pod's namespaces. They live as long as the agent holds what it gets handed here.

use std::os::fd::{AsFd, OwnedFd};

use super::channel::Fds;
use super::spec::{Empty, PodJob, Role, Told};
use super::{Error, tell};
use crate::container::namespaces::{join_pod, make_pod};

pub(super) fn run(job: &PodJob, fds: &Fds, agent: &OwnedFd) -> Result<(), Error> {
    // Sysctls of the network are set in the pod's network namespace.
    join_pod(fds)?;
    let made = make_pod(job)?;
    let handed: Vec<_> = [
        (Role::IpcNamespace, &made.ipc),
        (Role::UtsNamespace, &made.uts),
        (Role::ShmNamespace, &made.shm),
    ]
    .into_iter()
    .filter_map(|(role, fd)| Some((role, fd.as_ref()?.as_fd())))
    .collect();
    tell(agent, Told::Made(Empty {}), &handed)
}
