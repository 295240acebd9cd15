//! Watches directories that may come, go and return.
//!
//! A watch is armed anew before each look at the directories, so that nothing that changes during
//! or after the look is missed. Each directory is watched where it is, and by its name from the
//! nearest directory above it that exists.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::{sleep, timeout};
use tracing::debug;

/// Changes come in bursts: a file is created, written, closed.
const DEBOUNCE: Duration = Duration::from_millis(200);

const IN_DIRECTORY: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);
/// Also what is in the files, and whether they may be executed.
const OF_FILES: WatchFlags = IN_DIRECTORY
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB);

/// What is looked out for under one watch descriptor.
#[derive(Debug)]
enum Wanted {
    All,
    Names(HashSet<OsString>),
}

/// An armed watch over some directories.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Without it nothing is noticed, and the caller looks again after its pause.
    inotify: Option<AsyncFd<OwnedFd>>,
    wanted: HashMap<i32, Wanted>,
}

impl Watch {
    pub(crate) fn arm(dirs: &[PathBuf]) -> Self {
        let mut watch = Self {
            inotify: None,
            wanted: HashMap::new(),
        };
        match inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC) {
            Ok(fd) => {
                for dir in dirs {
                    watch.add(&fd, dir);
                }
                watch.inotify = register(fd).ok();
            }
            // As when a user's number of instances is used up.
            Err(error) => debug!(%error, "directories of CNI are looked at from time to time only"),
        }
        watch
    }

    fn add(&mut self, fd: &OwnedFd, dir: &Path) {
        if let Ok(descriptor) = add(fd, dir, OF_FILES) {
            self.wanted.insert(descriptor, Wanted::All);
        }
        let mut below = dir;
        while let (Some(above), Some(name)) = (below.parent(), below.file_name()) {
            if let Ok(descriptor) = add(fd, above, IN_DIRECTORY) {
                self.want(descriptor, name);
                return;
            }
            below = above;
        }
    }

    fn want(&mut self, descriptor: i32, name: &OsStr) {
        let none = || Wanted::Names(HashSet::new());
        if let Wanted::Names(names) = self.wanted.entry(descriptor).or_insert_with(none) {
            names.insert(name.to_owned());
        }
    }

    /// Returns a moment after the next change, and after `pause` at the latest.
    pub(crate) async fn changed(&self, pause: Duration) {
        let Some(inotify) = &self.inotify else {
            return sleep(pause).await;
        };
        if let Ok(Ok(())) = timeout(pause, self.next(inotify)).await {
            sleep(DEBOUNCE).await;
        }
    }

    async fn next(&self, inotify: &AsyncFd<OwnedFd>) -> io::Result<()> {
        loop {
            let mut ready = inotify.readable().await?;
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut events = inotify::Reader::new(inotify.get_ref(), &mut buffer);
            loop {
                match events.next() {
                    Ok(event) if self.is_wanted(&event) => return Ok(()),
                    Ok(_) => {}
                    Err(Errno::WOULDBLOCK) => break,
                    Err(errno) => return Err(errno.into()),
                }
            }
            ready.clear_ready();
        }
    }

    fn is_wanted(&self, event: &inotify::Event<'_>) -> bool {
        let about_all = ReadFlags::QUEUE_OVERFLOW
            | ReadFlags::DELETE_SELF
            | ReadFlags::MOVE_SELF
            | ReadFlags::UNMOUNT;
        if event.events().intersects(about_all) {
            return true;
        }
        match (self.wanted.get(&event.wd()), event.file_name()) {
            (Some(Wanted::All), _) => true,
            (Some(Wanted::Names(names)), Some(name)) => {
                names.contains(OsStr::from_bytes(name.to_bytes()))
            }
            _ => false,
        }
    }
}

// UNSAFETY: tokio can't know of a type that its descriptor stays the same.
#[expect(unsafe_code, reason = "an `AsyncFd` has no safe way to be made")]
fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one descriptor from its beginning to its end, and nothing takes it
    // out of the `AsyncFd`.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

fn add(fd: &OwnedFd, dir: &Path, flags: WatchFlags) -> rustix::io::Result<i32> {
    inotify::add_watch(fd, dir, flags | WatchFlags::ONLYDIR | WatchFlags::MASK_ADD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Whether `change` is noticed by a watch of `dir`.
    async fn notices(dir: &Path, change: impl FnOnce()) -> bool {
        let watch = Watch::arm(&[dir.to_path_buf()]);
        change();
        let next = watch.next(watch.inotify.as_ref().unwrap());
        timeout(Duration::from_millis(300), next).await.is_ok()
    }

    #[tokio::test]
    async fn a_directory_that_comes_goes_and_returns_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("cni/net.d");
        assert!(notices(&dir, || fs::create_dir(root.path().join("cni")).unwrap()).await);
        assert!(notices(&dir, || fs::create_dir(&dir).unwrap()).await);
        assert!(notices(&dir, || fs::write(dir.join("a.conf"), "{}").unwrap()).await);
        let replaced = root.path().join("cni/old");
        assert!(notices(&dir, || fs::rename(&dir, &replaced).unwrap()).await);
        assert!(notices(&dir, || fs::rename(&replaced, &dir).unwrap()).await);
        assert!(
            notices(&dir, || fs::remove_dir_all(root.path().join("cni"))
                .unwrap())
            .await
        );
        assert!(notices(&dir, || fs::create_dir_all(&dir).unwrap()).await);
    }

    #[tokio::test]
    async fn changes_of_files_are_noticed_and_neighbours_are_not() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("net.d");
        fs::create_dir(&dir).unwrap();
        let file = dir.join("a.conf");
        assert!(notices(&dir, || fs::write(&file, "{}").unwrap()).await);
        assert!(notices(&dir, || fs::write(&file, "{ }").unwrap()).await);
        assert!(notices(&dir, || fs::rename(&file, dir.join("b.conf")).unwrap()).await);
        assert!(notices(&dir, || fs::remove_file(dir.join("b.conf")).unwrap()).await);
        assert!(!notices(&dir, || fs::write(root.path().join("x"), "").unwrap()).await);
        assert!(!notices(&dir, || drop(fs::read_dir(&dir))).await);
    }

    #[tokio::test]
    async fn without_a_change_the_pause_ends_it() {
        let root = tempfile::tempdir().unwrap();
        let watch = Watch::arm(&[root.path().to_path_buf()]);
        watch.changed(Duration::from_millis(10)).await;
    }
}
