//! What a process executes: arguments, environment, and the file that its first argument names.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;

use agent_api::v1;
use rustix::fs::{Access, AtFlags, FileType, accessat, stat};
use rustix::io::Errno;

use super::Error;
use super::spec::Identity;
use crate::sys::exec::execve;

/// Where programs are looked for if the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to execute.
pub(super) struct Program {
    name: String,
    args: Vec<CString>,
    env: Vec<CString>,
    path: OsString,
}

impl Program {
    pub(super) fn new(process: &v1::Process, identity: &Identity) -> Result<Self, Error> {
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
    pub(super) fn find(&self) -> Result<CString, Error> {
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

    pub(super) fn execute(&self, path: &CString) -> Error {
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
