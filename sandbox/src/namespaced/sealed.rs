//! The agent's program in memory, sealed, once for all pods.
//!
//! An agent insists on running from a copy that nobody can write (a container that gets hold of its
//! program through /proc must not be able to change it). One copy for all of them saves each pod the
//! time and the memory of its own, and their pages are shared.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::leftovers::remove_path;
use crate::{Error, Result};

/// What the agents are called in lists of processes.
const NAME: &str = "bulkhead-agent";

/// The agent's program, sealed when it is first needed and again when it was replaced.
#[derive(Debug)]
pub(super) struct SealedProgram {
    program: PathBuf,
    dir: PathBuf,
    current: Mutex<Option<Arc<Sealed>>>,
}

/// One sealed copy. It can be started from [`Sealed::path`] for as long as this value lives.
#[derive(Debug)]
pub(super) struct Sealed {
    /// A link to the copy, so that processes have its name.
    path: PathBuf,
    of: Fingerprint,
    _memory: File,
}

/// Changes when the file is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    file: (u64, u64),
    len: u64,
    modified: (i64, i64),
}

impl SealedProgram {
    /// Will seal `program`, with a link to it in `dir`.
    pub(super) fn new(program: PathBuf, dir: PathBuf) -> Self {
        Self {
            program,
            dir,
            current: Mutex::new(None),
        }
    }

    /// The program as it is now.
    pub(super) fn get(&self) -> Result<Arc<Sealed>> {
        let mut current = self.current.lock();
        let sealing = || format!("seal a copy of {}", self.program.display());
        let of = fingerprint(&self.program).map_err(|e| Error::io(sealing(), e))?;
        if let Some(sealed) = current.as_ref().filter(|sealed| sealed.of == of) {
            return Ok(sealed.clone());
        }
        let sealed = Arc::new(self.seal(of).map_err(|e| Error::io(sealing(), e))?);
        *current = Some(sealed.clone());
        Ok(sealed)
    }

    fn seal(&self, of: Fingerprint) -> io::Result<Sealed> {
        let mut memory = memory()?;
        io::copy(&mut File::open(&self.program)?, &mut memory)?;
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        fcntl_add_seals(&memory, seals)?;
        let (path, new) = (self.dir.join(NAME), self.dir.join("bulkhead-agent.new"));
        remove_path(&new).map_err(io::Error::other)?;
        let target = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
        symlink(target, &new)?;
        fs::rename(new, &path)?;
        Ok(Sealed {
            path,
            of,
            _memory: memory,
        })
    }
}

impl Sealed {
    /// Where to start it from.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn memory() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Newer kernels want to be told that it is to be executed, older ones don't know the flag.
    let memory =
        memfd_create(NAME, flags | MemfdFlags::EXEC).or_else(|_| memfd_create(NAME, flags))?;
    Ok(memory.into())
}

fn fingerprint(path: &Path) -> io::Result<Fingerprint> {
    let metadata = fs::metadata(path)?;
    Ok(Fingerprint {
        file: (metadata.dev(), metadata.ino()),
        len: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_sealed_program_runs_under_its_name_and_can_not_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let program = SealedProgram::new("/bin/cat".into(), dir.path().to_owned());
        let sealed = program.get().unwrap();
        let ran = Command::new(sealed.path())
            .arg("/proc/self/comm")
            .output()
            .unwrap();
        assert_eq!(ran.stdout, b"bulkhead-agent\n");
        assert!(
            fs::OpenOptions::new()
                .write(true)
                .open(sealed.path())
                .and_then(|mut file| { io::Write::write_all(&mut file, b"x") })
                .is_err()
        );
    }

    #[test]
    fn a_replaced_program_is_sealed_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::copy("/bin/true", &path).unwrap();
        let program = SealedProgram::new(path.clone(), dir.path().to_owned());
        let first = program.get().unwrap();
        assert!(Arc::ptr_eq(&first, &program.get().unwrap()));
        fs::copy("/bin/false", &path).unwrap();
        let second = program.get().unwrap();
        assert!(!Command::new(second.path()).status().unwrap().success());
    }
}
