//! Runs a further process in a container, with the security context of its first.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_api::v1;
use tokio::sync::oneshot;

use super::Container;
use super::cgroup::{Cgroup, CgroupError};
use crate::Error;
use crate::agent::Agent;
use crate::reaper::Ended;
use crate::spawn;
use crate::stage1::spec::{ExecJob, Job, Role};
use crate::stdio::{End, input_pipe, output_pipe};

/// What programs on a terminal want to know, and what only its user could: what most terminals can do.
const TERM: &[u8] = b"TERM=xterm";

/// How long killed processes may take to be gone.
const KILLED_WITHIN: Duration = Duration::from_secs(10);

/// A process that was exec'd, and what it started, as long as somebody cares.
#[derive(Debug)]
pub(crate) struct Exec {
    cgroup: Cgroup,
    pub(crate) exit: oneshot::Receiver<Ended>,
    pub(crate) stdin: Option<End>,
    pub(crate) stdout: Option<End>,
    pub(crate) stderr: Option<End>,
    pub(crate) terminal: Option<Arc<End>>,
}

impl Container {
    /// Starts the process that `start` describes. Returns once it has executed its program.
    pub(crate) async fn exec(&self, agent: &Agent, start: &v1::StreamStart) -> Result<Exec, Error> {
        self.state().must_run().map_err(|source| Error::Denied {
            id: self.id.clone(),
            source,
        })?;
        let wanted = start.process.clone().ok_or(Error::Missing("a process"))?;
        let name = format!("exec-{}", self.next_exec.fetch_add(1, Ordering::Relaxed));
        let cgroup = self.cgroup.create_child(&name)?;
        match self.exec_in(agent, start, wanted, &cgroup).await {
            Ok(unplaced) => Ok(unplaced.in_cgroup(cgroup)),
            Err(error) => {
                super::create::clean_up(&cgroup).await;
                Err(error)
            }
        }
    }

    async fn exec_in(
        &self,
        agent: &Agent,
        start: &v1::StreamStart,
        wanted: v1::Process,
        cgroup: &Cgroup,
    ) -> Result<Unplaced, Error> {
        let (ours, theirs) = pipes(start, wanted.terminal)?;
        let mut fds: Vec<(Role, BorrowedFd<'_>)> = vec![
            (Role::Container, self.pidfd.as_fd()),
            (Role::Cgroup, cgroup.as_fd()),
        ];
        fds.extend(theirs.iter().map(|(role, fd)| (*role, fd.as_fd())));
        if wanted.terminal {
            fds.extend(
                self.devpts
                    .as_ref()
                    .map(|devpts| (Role::Devpts, devpts.as_fd())),
            );
        }
        // Whoever asks for nobody in particular gets the user of the container.
        let identity = wanted.user.is_none().then(|| self.identity.clone());
        let process = Some(alike(&self.process, wanted));
        let job = Job::Exec(Box::new(ExecJob { process, identity }));
        let waiting = spawn::process(&agent.reaper, job, &fds).await?;
        waiting.gate.open().await?;
        let terminal = waiting
            .terminal
            .map(|fd| End::new(fd).map(Arc::new))
            .transpose()
            .map_err(|source| Error::Io {
                doing: "use the terminal",
                source,
            })?;
        Ok(Unplaced {
            exit: waiting.exit,
            terminal,
            ours,
        })
    }
}

/// Our ends of the pipes.
#[derive(Default)]
struct Ours {
    stdin: Option<End>,
    stdout: Option<End>,
    stderr: Option<End>,
}

/// An exec'd process that is not yet tied to its cgroup.
struct Unplaced {
    exit: oneshot::Receiver<Ended>,
    terminal: Option<Arc<End>>,
    ours: Ours,
}

impl Unplaced {
    fn in_cgroup(self, cgroup: Cgroup) -> Exec {
        let Ours {
            stdin,
            stdout,
            stderr,
        } = self.ours;
        Exec {
            cgroup,
            exit: self.exit,
            terminal: self.terminal,
            stdin,
            stdout,
            stderr,
        }
    }
}

/// What is not asked for is /dev/null.
fn pipes(start: &v1::StreamStart, terminal: bool) -> Result<(Ours, Vec<(Role, OwnedFd)>), Error> {
    let error = |source| Error::Io {
        doing: "make the process's pipes",
        source,
    };
    let (mut ours, mut theirs) = (Ours::default(), Vec::new());
    if terminal {
        return Ok((ours, theirs));
    }
    if start.stdin {
        let (their_end, end) = input_pipe().map_err(error)?;
        ours.stdin = Some(end);
        theirs.push((Role::Stdin, their_end));
    }
    if start.stdout {
        let (end, their_end) = output_pipe().map_err(error)?;
        ours.stdout = Some(end);
        theirs.push((Role::Stdout, their_end));
    }
    if start.stderr {
        let (end, their_end) = output_pipe().map_err(error)?;
        ours.stderr = Some(end);
        theirs.push((Role::Stderr, their_end));
    }
    Ok((ours, theirs))
}

/// `wanted`, with what it leaves open taken from the container's first process. What protects the
/// container can be made stricter, never looser.
fn alike(first: &v1::Process, wanted: v1::Process) -> v1::Process {
    let or = |wanted: String, first: &String| {
        if wanted.is_empty() {
            first.clone()
        } else {
            wanted
        }
    };
    let mut env = first.env.clone();
    env.extend(wanted.env);
    if wanted.terminal && !env.iter().any(|variable| variable.starts_with(b"TERM=")) {
        env.push(TERM.to_vec());
    }
    v1::Process {
        args: wanted.args,
        env,
        cwd: or(wanted.cwd, &first.cwd),
        user: wanted.user,
        capabilities: wanted.capabilities.or(first.capabilities),
        no_new_privileges: wanted.no_new_privileges || first.no_new_privileges,
        seccomp: if wanted.seccomp.is_empty() {
            first.seccomp.clone()
        } else {
            wanted.seccomp
        },
        apparmor_profile: or(wanted.apparmor_profile, &first.apparmor_profile),
        selinux_label: or(wanted.selinux_label, &first.selinux_label),
        rlimits: if wanted.rlimits.is_empty() {
            first.rlimits.clone()
        } else {
            wanted.rlimits
        },
        terminal: wanted.terminal,
        width: wanted.width,
        height: wanted.height,
        oom_score_adj: wanted.oom_score_adj.or(first.oom_score_adj),
    }
}

impl Exec {
    /// Kills the process and all that it started.
    pub(crate) fn kill(&self) -> Result<(), CgroupError> {
        self.cgroup.kill()
    }

    /// Kills it and waits until nothing of it is left.
    pub(crate) async fn kill_and_wait(&self) {
        if let Err(error) = self.kill() {
            tracing::error!(error = crate::chain(&error), "kill exec'd process");
        }
        self.cgroup.wait_until_empty(KILLED_WITHIN).await;
    }

    /// Lets go of it. What it left running in the background goes on, as part of the container.
    pub(crate) async fn release(self, container: &Container) {
        if self.cgroup.remove_now().is_err() {
            let moved = container.cgroup.adopt_processes(&self.cgroup);
            // A container that limits its own children can't have processes beside them; then the
            // cgroup stays until the container goes.
            if moved.is_ok() {
                let _ = self.cgroup.remove(Duration::from_secs(1)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execd_process_is_as_restricted_as_the_first() {
        let first = v1::Process {
            args: vec!["first".into()],
            env: vec![b"A=1".to_vec()],
            cwd: "/work".into(),
            capabilities: Some(v1::Capabilities {
                bounding: 5,
                ..Default::default()
            }),
            no_new_privileges: true,
            seccomp: vec![1; 8],
            apparmor_profile: "profile".into(),
            terminal: true,
            oom_score_adj: Some(7),
            ..v1::Process::default()
        };
        let wanted = v1::Process {
            args: vec!["second".into()],
            env: vec![b"A=2".to_vec()],
            ..v1::Process::default()
        };
        let expected = v1::Process {
            args: vec!["second".into()],
            env: vec![b"A=1".to_vec(), b"A=2".to_vec()],
            terminal: false,
            ..first.clone()
        };
        assert_eq!(alike(&first, wanted), expected);
    }

    #[test]
    fn on_a_terminal_there_is_a_term_unless_it_was_given() {
        let env = |given: &[u8]| {
            let wanted = v1::Process {
                env: vec![given.to_vec()],
                terminal: true,
                ..v1::Process::default()
            };
            alike(&v1::Process::default(), wanted).env
        };
        assert_eq!(env(b"A=1"), [b"A=1".to_vec(), TERM.to_vec()]);
        assert_eq!(env(b"TERM=vt100"), [b"TERM=vt100".to_vec()]);
    }
}
