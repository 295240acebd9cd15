//! The last steps, the same for a container's first process and for an exec'd one: streams, limits,
//! identity, and execve.
//!
//! The order is the kernel's. A filter that does not rule out new privileges needs CAP_SYS_ADMIN, so it
//! comes before capabilities go; otherwise it comes last, so that it need not allow what we still do.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use agent_api::v1;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, chdir, set_dumpable_behavior, umask};
use rustix::thread::set_no_new_privs;

use super::channel::wait_for_start;
use super::program::Program;
use super::spec::{Identity, Role, Told};
use super::streams::Stdio;
use super::{Error, tell};
use crate::container::lsm::Labels;
use crate::container::{capabilities, rlimits};
use crate::sys::exec::close_all_but;
use crate::sys::seccomp::Filter;
use crate::sys::signals;

/// Everything that is left to do in the container's namespaces and root.
pub(super) struct Become<'j> {
    pub(super) process: &'j v1::Process,
    pub(super) identity: Identity,
    pub(super) stdio: Stdio,
    pub(super) labels: Labels,
    /// Handed to the agent, so that exec finds it again.
    pub(super) devpts: Option<OwnedFd>,
}

impl Become<'_> {
    /// Becomes the process. Returns only where that failed.
    pub(super) fn run(self, agent: &OwnedFd) -> Result<(), Error> {
        let process = self.process;
        let filter = if process.seccomp.is_empty() {
            None
        } else {
            Some(Filter::parse(&process.seccomp)?)
        };
        let program = Program::new(process, &self.identity)?;
        rlimits::set_all(&process.rlimits)?;
        let terminal = self.stdio.set_up(self.identity.uid)?;
        self.labels.set()?;
        let handed = [(Role::Terminal, &terminal), (Role::Devpts, &self.devpts)];
        let handed: Vec<_> = handed
            .iter()
            .filter_map(|(role, fd)| Some((*role, fd.as_ref()?.as_fd())))
            .collect();
        close_others(agent, &handed)?;
        let entered = enter_cwd(process);
        if let Some(filter) = filter.as_ref().filter(|_| !process.no_new_privileges) {
            filter.install().map_err(Error::Seccomp)?;
        }
        let none = v1::Capabilities::default();
        capabilities::take_on(
            &self.identity,
            process.capabilities.as_ref().unwrap_or(&none),
        )?;
        // The change of user may have made us visible again.
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Error::Hide)?;
        // Some network file systems let only the user in.
        entered.or_else(|_| enter_cwd(process))?;
        stay_inside()?;
        let path = program.find()?;
        tell(agent, Told::Ready(self.identity), &handed)?;
        wait_for_start(agent).map_err(Error::Tell)?;

        signals::reset();
        umask(Mode::from_raw_mode(0o022));
        if process.no_new_privileges {
            set_no_new_privs(true).map_err(Error::NoNewPrivileges)?;
            if let Some(filter) = &filter {
                filter.install().map_err(Error::Seccomp)?;
            }
        }
        Err(program.execute(&path))
    }
}

/// A path may name a descriptor, and where one is open on a directory of the host, the path leads there
/// (CVE-2024-21626). The kernel follows the program's path, and its interpreter's, before it closes what is to
/// be closed at execve, so that comes too late.
fn close_others(agent: &OwnedFd, handed: &[(Role, BorrowedFd<'_>)]) -> Result<(), Error> {
    let handed = handed.iter().map(|(_, fd)| *fd);
    let kept: Vec<_> = handed.chain([agent.as_fd()]).collect();
    close_all_but(&kept).map_err(|e| Error::Stdio("descriptors", e))
}

/// Set while the host's /proc is in sight and we may still lower it.
pub(super) fn set_oom_score(process: &v1::Process) -> Result<(), Error> {
    // The agent's own protection is not for its containers.
    let score = process.oom_score_adj.unwrap_or(0);
    std::fs::write("/proc/self/oom_score_adj", score.to_string())
        .map_err(|source| Error::OomScore(score, source))
}

fn enter_cwd(process: &v1::Process) -> Result<(), Error> {
    let path = if process.cwd.is_empty() {
        "/"
    } else {
        &process.cwd
    };
    let resolve = rustix::fs::ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), resolve)
        .and_then(|directory| rustix::process::fchdir(directory.as_fd()))
        .map_err(|source| Error::Cwd {
            path: path.to_owned(),
            source,
        })
}

/// A working directory outside of the root would be a door to the host (CVE-2024-21626).
fn stay_inside() -> Result<(), Error> {
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.to_bytes().starts_with(b"/") => Ok(()),
        // The directory may also have been removed; the root is always there.
        Err(Errno::NOENT) => chdir("/").map_err(|_| Error::CwdOutside),
        _ => Err(Error::CwdOutside),
    }
}
