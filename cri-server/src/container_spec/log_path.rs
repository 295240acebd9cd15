//! Where a container's log goes: below the pod's log directory, and nowhere else.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;

use crate::error::{Error, Result};

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The log of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPath {
    /// The pod's log directory, as the kubelet names it. Links on the way to it are the operator's.
    directory: PathBuf,
    /// What is below, where a volume of some pod may reach: directories and files, no links.
    name: PathBuf,
}

impl LogPath {
    /// The log of a container; `None` where pod or container name none.
    pub(super) fn new(directory: &str, path: &str) -> Result<Option<Self>> {
        if directory.is_empty() || path.is_empty() {
            return Ok(None);
        }
        let inside = Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !inside || path.contains('\0') {
            return Err(Error::invalid(format!(
                "log_path {path:?} leads out of the pod's log directory"
            )));
        }
        Ok(Some(Self {
            directory: directory.into(),
            name: path.into(),
        }))
    }

    /// As the kubelet names it.
    pub fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }

    /// Makes the directories that are missing, and returns the path without the operator's links. Blocks.
    pub fn provide(&self) -> io::Result<PathBuf> {
        std::fs::create_dir_all(&self.directory)?;
        let directory = self.directory.canonicalize()?;
        let mut here = openat2(
            CWD,
            &directory,
            DIRECTORY,
            Mode::empty(),
            ResolveFlags::NO_SYMLINKS,
        )?;
        for name in self.name.parent().into_iter().flatten() {
            here = enter(&here, name.as_ref())?;
        }
        Ok(directory.join(&self.name))
    }
}

fn enter(here: &OwnedFd, name: &Path) -> rustix::io::Result<OwnedFd> {
    match mkdirat(here, name, Mode::from_raw_mode(0o755)) {
        Err(error) if error != Errno::EXIST => return Err(error),
        _ => {}
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(here, name, DIRECTORY, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[track_caller]
    fn check(path: &str, expected: Option<Option<&str>>) {
        let found = LogPath::new("/var/log/pods/x", path);
        let found = found.map(|log| log.map(|log| log.path()));
        assert_eq!(found.ok(), expected.map(|path| path.map(PathBuf::from)));
    }

    #[test]
    fn a_log_stays_below_the_pods_directory() {
        check("web/0.log", Some(Some("/var/log/pods/x/web/0.log")));
        check("", Some(None));
        check("../y/0.log", None);
        check("/etc/passwd", None);
        check("web/../../0.log", None);
    }

    #[test]
    fn links_to_the_pods_directory_are_the_operators_and_below_it_there_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap().join("disk");
        std::fs::create_dir_all(real.join("pods")).unwrap();
        let link = dir.path().join("log");
        symlink(&real, &link).unwrap();
        let log = |name: &str| {
            let directory = link.join("pods/p1");
            LogPath::new(directory.to_str().unwrap(), name)
                .unwrap()
                .unwrap()
        };
        let provided = log("web/0.log").provide().unwrap();
        assert_eq!(provided, real.join("pods/p1/web/0.log"));
        assert!(real.join("pods/p1/web").is_dir());
        assert_eq!(log("0.log").provide().unwrap(), real.join("pods/p1/0.log"));

        let elsewhere = dir.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, real.join("pods/p1/app")).unwrap();
        log("app/deep/0.log").provide().unwrap_err();
        log("app/0.log").provide().unwrap_err();
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
    }
}
