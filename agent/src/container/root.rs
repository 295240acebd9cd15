//! A container's root directory as seen from outside: paths resolve inside it, whatever its symlinks say.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat2, readlinkat, statat,
};
use rustix::io::Errno;

/// As many symlinks as the kernel follows.
const MOST_SYMLINKS: usize = 40;

/// `openat2` says EAGAIN where somebody moves directories under it.
const MOST_ATTEMPTS: usize = 32;

/// What to make where nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// An empty directory.
    Directory,
    /// An empty file.
    File,
}

/// A directory that nothing resolved through it escapes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Root<'fd> {
    fd: BorrowedFd<'fd>,
}

impl<'fd> Root<'fd> {
    /// Treats the directory that `fd` is open on as a root.
    pub(crate) fn at(fd: BorrowedFd<'fd>) -> Self {
        Self { fd }
    }

    /// What `path` leads to, as an `O_PATH` descriptor.
    pub(crate) fn resolve(self, path: &str) -> rustix::io::Result<OwnedFd> {
        self.open(path, OFlags::PATH)
    }

    /// Opens what `path` leads to. Never follows magic links, such as those in /proc.
    pub(crate) fn open(self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        let mut attempts = 0;
        loop {
            match openat2(self.fd, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) if attempts < MOST_ATTEMPTS => attempts += 1,
                other => return other,
            }
        }
    }

    /// What `path` leads to, after making what is missing on the way. Symlinks that lead nowhere yet
    /// lead somewhere afterwards: images have `/etc/resolv.conf` point into an empty `/run`.
    pub(crate) fn resolve_or_create(
        self,
        path: &str,
        missing: Missing,
    ) -> rustix::io::Result<OwnedFd> {
        match self.resolve(path) {
            Err(Errno::NOENT) => Walk::new(self, missing)?.to(path),
            other => other,
        }
    }
}

/// A walk from the root, one component at a time, that makes what is missing.
struct Walk {
    /// The directories from the root to here. `..` goes back along them, so it can't go above.
    trail: Vec<OwnedFd>,
    missing: Missing,
    symlinks: usize,
}

impl Walk {
    fn new(root: Root<'_>, missing: Missing) -> rustix::io::Result<Self> {
        Ok(Self {
            trail: vec![root.resolve("/")?],
            missing,
            symlinks: 0,
        })
    }

    fn to(mut self, path: &str) -> rustix::io::Result<OwnedFd> {
        let mut ahead: VecDeque<String> = components(path).collect();
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                self.up();
            } else if let Some(target) = self.step(&name, ahead.is_empty())? {
                if target.starts_with('/') {
                    self.trail.truncate(1);
                }
                for name in components(&target).collect::<Vec<_>>().into_iter().rev() {
                    ahead.push_front(name);
                }
            }
        }
        Ok(self.trail.pop().expect("the root stays in the trail"))
    }

    fn up(&mut self) {
        if self.trail.len() > 1 {
            self.trail.pop();
        }
    }

    /// Goes to `name`, makes it if it is missing, or returns where it points if it is a symlink.
    fn step(&mut self, name: &str, last: bool) -> rustix::io::Result<Option<String>> {
        let here = self.trail.last().expect("the root stays in the trail");
        match statat(here, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                self.symlinks += 1;
                if self.symlinks > MOST_SYMLINKS {
                    return Err(Errno::LOOP);
                }
                let target = readlinkat(here, name, Vec::new())?;
                return target.into_string().map(Some).map_err(|_| Errno::ILSEQ);
            }
            Ok(_) => {}
            Err(Errno::NOENT) => make(here.as_fd(), name, last, self.missing)?,
            Err(error) => return Err(error),
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let next = openat2(
            here,
            name,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )?;
        self.trail.push(next);
        Ok(None)
    }
}

fn make(here: BorrowedFd<'_>, name: &str, last: bool, missing: Missing) -> rustix::io::Result<()> {
    if last && missing == Missing::File {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(here, name, flags, Mode::from_raw_mode(0o644), resolve).map(drop)
    } else {
        mkdirat(here, name, Mode::from_raw_mode(0o755))
    }
}

/// The names in `path`, without those that stay in place.
fn components(path: &str) -> impl Iterator<Item = String> {
    path.split('/')
        .filter(|name| !name.is_empty() && *name != ".")
        .map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    /// Resolves `path` in a root that has the given symlinks and tells where it ended, from the root.
    #[track_caller]
    fn check(symlinks: &[(&str, &str)], path: &str, missing: Missing, expected: &str) {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        fs::create_dir(&root).unwrap();
        for (link, target) in symlinks {
            let link = root.join(link);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(target, link).unwrap();
        }
        let fd = fs::File::open(&root).unwrap();
        let found = Root::at(fd.as_fd())
            .resolve_or_create(path, missing)
            .unwrap();
        let place = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found));
        let place = fs::read_link(place).unwrap();
        assert_eq!(place, root.join(expected), "{path}");
        assert_eq!(place.is_dir(), missing == Missing::Directory);
        let beside: Vec<_> = fs::read_dir(outside.path()).unwrap().collect();
        assert_eq!(beside.len(), 1, "something was made outside the root");
    }

    #[test]
    fn missing_directories_are_made() {
        check(&[], "/a/b/c", Missing::Directory, "a/b/c");
        check(&[], "/a/b/c", Missing::File, "a/b/c");
        check(&[], "a//./b/", Missing::Directory, "a/b");
    }

    #[test]
    fn symlinks_stay_inside() {
        check(
            &[("up", "../../../../etc")],
            "/up/x",
            Missing::Directory,
            "etc/x",
        );
        check(&[("abs", "/etc")], "/abs/x", Missing::File, "etc/x");
        check(
            &[("a/deep", "../../..")],
            "/a/deep/x",
            Missing::Directory,
            "x",
        );
    }

    #[test]
    fn a_symlink_that_leads_nowhere_leads_somewhere_afterwards() {
        let link = ("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf");
        let expected = "run/systemd/resolve/stub-resolv.conf";
        check(&[link], "/etc/resolv.conf", Missing::File, expected);
    }

    #[test]
    fn a_path_above_the_root_is_the_root() {
        check(&[], "/../../x", Missing::Directory, "x");
    }

    #[test]
    fn endless_symlinks_are_an_error() {
        let root = tempfile::tempdir().unwrap();
        symlink("loop/x", root.path().join("loop")).unwrap();
        let fd = fs::File::open(root.path()).unwrap();
        let found = Root::at(fd.as_fd()).resolve_or_create("/loop", Missing::Directory);
        assert_eq!(found.unwrap_err(), Errno::LOOP);
    }

    #[test]
    fn magic_links_are_not_followed() {
        let fd = fs::File::open(Path::new("/")).unwrap();
        let found = Root::at(fd.as_fd()).resolve("/proc/self/root");
        assert_eq!(found.unwrap_err(), Errno::LOOP);
    }
}
