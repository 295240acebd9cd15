//! The last steps, the same for a container's first process and for an exec'd one: streams, limits,
//! identity, and execve.
//!
//! The order is the kernel's. A filter that does not rule out new privileges needs CAP_SYS_ADMIN, so it
//! comes before capabilities go; otherwise it comes last, so that it need not allow what we still do.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use agent_api::v1;
use rustix::fs::{
    Access, AtFlags, FileType, Gid, Mode, OFlags, Uid, accessat, fchown, fstat, stat,
};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, chdir, set_dumpable_behavior, umask};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::set_no_new_privs;

use super::channel::{Fds, wait_for_start};
use super::spec::{Identity, Role, Told};
use super::{Error, tell};
use crate::container::lsm::Labels;
use crate::container::tty::Terminal;
use crate::container::{capabilities, rlimits};
use crate::sys::exec::{close_others_on_exec, execve};
use crate::sys::seccomp::Filter;
use crate::sys::signals;

/// Where programs are looked for if the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A process's streams.
pub(super) enum Stdio {
    /// One terminal for all.
    Terminal(Terminal),
    /// Pipes; what is missing is /dev/null of the container.
    Streams {
        stdin: Option<OwnedFd>,
        stdout: Option<OwnedFd>,
        stderr: Option<OwnedFd>,
    },
}

impl Stdio {
    pub(super) fn streams(fds: &mut Fds) -> Self {
        Self::Streams {
            stdin: fds.take(Role::Stdin),
            stdout: fds.take(Role::Stdout),
            stderr: fds.take(Role::Stderr),
        }
    }
}

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

        let handed = [(Role::Terminal, &terminal), (Role::Devpts, &self.devpts)];
        let handed: Vec<_> = handed
            .iter()
            .filter_map(|(role, fd)| Some((*role, fd.as_ref()?.as_fd())))
            .collect();
        tell(agent, Told::Ready(self.identity), &handed)?;
        wait_for_start(agent).map_err(Error::Tell)?;

        close_others_on_exec().map_err(|e| Error::Stdio("descriptors", e))?;
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

impl Stdio {
    /// Puts the streams in their places and returns the master side of the terminal, if it is one.
    fn set_up(self, uid: u32) -> Result<Option<OwnedFd>, Error> {
        match self {
            Self::Terminal(terminal) => {
                terminal.control(uid)?;
                let slave = Some(&terminal.slave);
                place(slave, slave, slave)?;
                Ok(Some(terminal.master))
            }
            Self::Streams {
                stdin,
                stdout,
                stderr,
            } => {
                for stream in [&stdin, &stdout, &stderr].into_iter().flatten() {
                    give(stream, uid)?;
                }
                place(stdin.as_ref(), stdout.as_ref(), stderr.as_ref())?;
                Ok(None)
            }
        }
    }
}

/// Lets the process open its pipes anew through /dev/stdout and its like.
fn give(stream: &OwnedFd, uid: u32) -> Result<(), Error> {
    let error = |e| Error::Stdio("streams", e);
    let kind = FileType::from_raw_mode(fstat(stream).map_err(error)?.st_mode);
    if kind != FileType::Fifo {
        return Ok(());
    }
    fchown(stream, Some(Uid::from_raw(uid)), None::<Gid>).map_err(error)
}

fn place(
    stdin: Option<&OwnedFd>,
    stdout: Option<&OwnedFd>,
    stderr: Option<&OwnedFd>,
) -> Result<(), Error> {
    let null = open_null().map_err(|e| Error::Stdio("/dev/null", e))?;
    dup2_stdin(stdin.unwrap_or(&null)).map_err(|e| Error::Stdio("stdin", e))?;
    dup2_stdout(stdout.unwrap_or(&null)).map_err(|e| Error::Stdio("stdout", e))?;
    dup2_stderr(stderr.unwrap_or(&null)).map_err(|e| Error::Stdio("stderr", e))
}

/// The container's own: nothing of the host shows through its descriptors. Somebody in the container
/// may have replaced it, hence no waiting, and no terminal to be caught by.
fn open_null() -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    rustix::fs::open("/dev/null", flags, Mode::empty())
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

/// What to execute.
struct Program {
    name: String,
    args: Vec<CString>,
    env: Vec<CString>,
    path: OsString,
}

impl Program {
    fn new(process: &v1::Process, identity: &Identity) -> Result<Self, Error> {
        let name = process
            .args
            .first()
            .filter(|name| !name.is_empty())
            .ok_or(Error::NoArgs)?;
        let c_string = |bytes: &[u8]| CString::new(bytes).map_err(|_| Error::Nul);
        let args = process
            .args
            .iter()
            .map(|arg| c_string(arg.as_bytes()))
            .collect::<Result<_, _>>()?;
        let mut env: Vec<CString> = process
            .env
            .iter()
            .map(|variable| c_string(variable))
            .collect::<Result<_, _>>()?;
        if variable(&process.env, b"HOME").is_none() {
            env.push(c_string(format!("HOME={}", identity.home).as_bytes())?);
        }
        let path = match variable(&process.env, b"PATH") {
            Some(path) => OsString::from_vec(path.to_vec()),
            None => {
                env.push(c_string(format!("PATH={DEFAULT_PATH}").as_bytes())?);
                DEFAULT_PATH.into()
            }
        };
        Ok(Self {
            name: name.clone(),
            args,
            env,
            path,
        })
    }

    /// The file to execute: a name without a slash is looked up along PATH, as the process's user.
    fn find(&self) -> Result<CString, Error> {
        if self.name.contains('/') {
            let path = CString::new(self.name.as_str()).map_err(|_| Error::Nul)?;
            return match executable(&path) {
                Ok(()) => Ok(path),
                Err(errno) => Err(self.failed(errno, errno != Errno::NOENT)),
            };
        }
        let mut refused = None;
        for directory in std::env::split_paths(&self.path) {
            let path = directory.join(&self.name).into_os_string().into_vec();
            let path = CString::new(path).map_err(|_| Error::Nul)?;
            match executable(&path) {
                Ok(()) => return Ok(path),
                Err(Errno::ACCESS) => refused = Some(Errno::ACCESS),
                Err(_) => {}
            }
        }
        Err(self.failed(refused.unwrap_or(Errno::NOENT), refused.is_some()))
    }

    fn execute(&self, path: &CString) -> Error {
        let errno = execve(path, &self.args, &self.env);
        self.failed(errno, true)
    }

    fn failed(&self, errno: Errno, found: bool) -> Error {
        Error::Exec {
            program: self.name.clone(),
            errno,
            found,
        }
    }
}

fn executable(path: &CString) -> Result<(), Errno> {
    if FileType::from_raw_mode(stat(path)?.st_mode) != FileType::RegularFile {
        return Err(Errno::ACCESS);
    }
    match accessat(rustix::fs::CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        // The seccomp filter does not know the call; execve will tell.
        Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        other => other,
    }
}

fn variable<'e>(env: &'e [Vec<u8>], name: &[u8]) -> Option<&'e [u8]> {
    env.iter()
        .rev()
        .find_map(|entry| entry.strip_prefix(name)?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(args: &[&str], env: &[&str]) -> v1::Process {
        v1::Process {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: env
                .iter()
                .map(|variable| variable.as_bytes().to_vec())
                .collect(),
            ..v1::Process::default()
        }
    }

    fn program(args: &[&str], env: &[&str]) -> Result<Program, Error> {
        let identity = Identity {
            home: "/home/me".into(),
            ..Identity::default()
        };
        Program::new(&process(args, env), &identity)
    }

    #[track_caller]
    fn check_env(env: &[&str], expected: &[&str]) {
        let program = program(&["x"], env).unwrap();
        let got: Vec<_> = program
            .env
            .iter()
            .map(|entry| entry.to_str().unwrap())
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn home_and_path_are_there_unless_they_were_given() {
        check_env(&["PATH=/bin", "HOME=/"], &["PATH=/bin", "HOME=/"]);
        check_env(
            &["A=b", "HOMER=x"],
            &[
                "A=b",
                "HOMER=x",
                "HOME=/home/me",
                &format!("PATH={DEFAULT_PATH}"),
            ],
        );
    }

    #[test]
    fn a_name_is_looked_up_along_the_containers_path() {
        let found = program(&["sh"], &["PATH=/nonexistent:/bin:/usr/bin"])
            .unwrap()
            .find()
            .unwrap();
        assert_eq!(found.to_str().unwrap(), "/bin/sh");
    }

    #[track_caller]
    fn check_missing(args: &[&str], env: &[&str], expected: &str) {
        let error = program(args, env)
            .and_then(|program| program.find())
            .unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn what_can_not_be_executed_is_said_in_the_words_people_know() {
        check_missing(&[], &[], "there is no program to execute");
        check_missing(&[""], &[], "there is no program to execute");
        check_missing(
            &["a\0b"],
            &[],
            "an argument or a variable contains a NUL byte",
        );
        check_missing(&["foo"], &[], "exec \"foo\": no such file or directory");
        check_missing(
            &["/no/foo"],
            &[],
            "exec \"/no/foo\": no such file or directory",
        );
        check_missing(&["/etc"], &[], "exec \"/etc\": permission denied");
        check_missing(
            &["passwd"],
            &["PATH=/etc"],
            "exec \"passwd\": permission denied",
        );
    }
}
