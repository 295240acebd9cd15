//! A user and group of its own for each living VMM, so that none can touch another's memory or files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::leftovers::remove_path;
use crate::{Error, Kind, Result, supervisor};

/// The range of users for VMMs, and who has which.
///
/// A file per user names the lock that its VMM holds for its life; once the lock is free, so is the
/// user. So nothing is to be given back, nor remembered across a restart of ours.
#[derive(Clone, Debug)]
pub(super) struct Users {
    dir: PathBuf,
    first: u32,
    count: u32,
}

impl Users {
    /// `count` users from `first` on, noted in `dir`, which handlers share that share users.
    pub(super) fn open(dir: PathBuf, first: u32, count: u32) -> Result<Self> {
        fs::create_dir_all(&dir).map_err(|e| Error::io(format!("make {}", dir.display()), e))?;
        Ok(Self { dir, first, count })
    }

    /// A user that no living VMM has, for the VMM that will hold `lock`. The caller holds it already.
    pub(super) fn assign(&self, lock: &Path) -> Result<u32> {
        let _turn = self.turn()?;
        for uid in self.first..self.first.saturating_add(self.count) {
            let note = self.dir.join(uid.to_string());
            if !is_taken(&note)? {
                fs::write(&note, lock.as_os_str().as_encoded_bytes())
                    .map_err(|e| Error::io(format!("write {}", note.display()), e))?;
                return Ok(uid);
            }
        }
        let doing = format!("find a user for the VMM: all {} are taken", self.count);
        Err(Error::new(Kind::NoSpace, doing))
    }

    /// Forgets the users whose VMMs are gone. Only tidiness: the locks say the same.
    pub(super) fn forget_gone(&self) -> Result<()> {
        let listing = || format!("list {}", self.dir.display());
        let _turn = self.turn()?;
        for entry in fs::read_dir(&self.dir).map_err(|e| Error::io(listing(), e))? {
            let note = entry.map_err(|e| Error::io(listing(), e))?.path();
            let names_user = note
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.parse::<u32>().is_ok());
            if names_user && !is_taken(&note)? {
                remove_path(&note)?;
            }
        }
        Ok(())
    }

    /// One at a time, also of other handlers.
    fn turn(&self) -> Result<fs::File> {
        let path = self.dir.join("turn");
        let taking = || format!("lock {}", path.display());
        let file = fs::File::create(&path).map_err(|e| Error::io(taking(), e))?;
        flock(&file, FlockOperation::LockExclusive).map_err(|e| Error::io(taking(), e))?;
        Ok(file)
    }
}

fn is_taken(note: &Path) -> Result<bool> {
    match fs::read_to_string(note) {
        Ok(lock) => supervisor::is_held(Path::new(&lock)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(format!("read {}", note.display()), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_living_vmms_have_the_same_user() {
        let dir = tempfile::tempdir().unwrap();
        let users = Users::open(dir.path().join("users"), 700_000, 2).unwrap();
        let lock = |name: &str| {
            let path = dir.path().join(name);
            let held = supervisor::take(&path).unwrap().unwrap();
            (path, held)
        };
        let (a, a_held) = lock("a");
        let (b, _b_held) = lock("b");
        let (c, _c_held) = lock("c");
        assert_eq!(users.assign(&a).unwrap(), 700_000);
        assert_eq!(users.assign(&b).unwrap(), 700_001);
        assert_eq!(users.assign(&c).unwrap_err().kind(), Kind::NoSpace);

        users.forget_gone().unwrap();
        assert_eq!(
            users.assign(&c).unwrap_err().kind(),
            Kind::NoSpace,
            "a lives"
        );
        drop(a_held);
        users.forget_gone().unwrap();
        assert!(!dir.path().join("users/700000").exists());
        assert_eq!(users.assign(&c).unwrap(), 700_000);
    }

    #[test]
    fn another_handler_sees_what_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("lock");
        let _held = supervisor::take(&lock).unwrap().unwrap();
        let open = || Users::open(dir.path().join("users"), 700_000, 9).unwrap();
        assert_eq!(open().assign(&lock).unwrap(), 700_000);
        assert_eq!(open().assign(&lock).unwrap(), 700_001);
    }
}
