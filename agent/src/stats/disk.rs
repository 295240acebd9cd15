//! How much a container has written.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat, statvfs};

use crate::container::Container;

/// More files than this are not counted one by one.
const MOST_FILES: u64 = 2_000_000;

/// Directories deeper than this are not looked into: each level holds a descriptor.
const DEEPEST: usize = 200;

/// Not counted more often than this.
const EVERY: Duration = Duration::from_secs(10);

/// How long a call waits for a count.
const PATIENCE: Duration = Duration::from_millis(300);

/// Bytes and files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DiskUsage {
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

/// What was counted last, and when.
#[derive(Debug, Default)]
pub(crate) struct DiskCount {
    last: DiskUsage,
    when: Option<Instant>,
    /// Somebody counts right now.
    busy: bool,
}

/// What the container has written, as far as is known. Counting goes on in the background where there
/// are too many files to wait for; until it is done the last count stands.
pub(super) async fn usage(container: &Container) -> DiskUsage {
    if let Some(mount) = container.disk_mount() {
        return of_file_system(&mount);
    }
    let Some(directory) = container.writable.clone() else {
        return DiskUsage::default();
    };
    if begin(&mut container.disk_usage.lock()) {
        let count = Arc::clone(&container.disk_usage);
        let counting = tokio::task::spawn_blocking(move || {
            let last = of_directory(&directory);
            *count.lock() = DiskCount {
                last,
                when: Some(Instant::now()),
                busy: false,
            };
        });
        // Most containers have few files.
        let _ = tokio::time::timeout(PATIENCE, counting).await;
    }
    container.disk_usage.lock().last
}

/// Whether it is time to count again, and nobody does.
fn begin(count: &mut DiskCount) -> bool {
    let due = !count.busy && count.when.is_none_or(|when| when.elapsed() >= EVERY);
    count.busy |= due;
    due
}

/// A file system of the container's own: it knows.
fn of_file_system(mount: &Path) -> DiskUsage {
    statvfs(mount).map_or_else(
        |_| DiskUsage::default(),
        |stat| DiskUsage {
            bytes: stat
                .f_blocks
                .saturating_sub(stat.f_bfree)
                .saturating_mul(stat.f_frsize),
            inodes: stat.f_files.saturating_sub(stat.f_ffree),
        },
    )
}

/// Counts everything below `directory`. The container may move things about meanwhile, and put symlinks
/// where directories were: none is followed.
fn of_directory(directory: &Path) -> DiskUsage {
    let mut count = Count::default();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(fd) = openat(CWD, directory, flags, Mode::empty())
        && let Ok(directory) = Dir::new(fd)
    {
        count.directory(directory, 0);
    }
    count.usage
}

#[derive(Default)]
struct Count {
    usage: DiskUsage,
    /// Files with several names, each counted once.
    linked: HashSet<u64>,
}

impl Count {
    fn directory(&mut self, mut directory: Dir, depth: usize) {
        while let Some(Ok(entry)) = directory.next() {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") || self.usage.inodes >= MOST_FILES {
                continue;
            }
            let Ok(here) = directory.fd() else { return };
            let Ok(stat) = statat(here, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if stat.st_nlink > 1
                && FileType::from_raw_mode(stat.st_mode) != FileType::Directory
                && !self.linked.insert(stat.st_ino)
            {
                continue;
            }
            self.usage.inodes += 1;
            self.usage.bytes += u64::try_from(stat.st_blocks)
                .unwrap_or(0)
                .saturating_mul(512);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory && depth < DEEPEST {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                if let Ok(below) = openat(here, name, flags, Mode::empty())
                    && let Ok(below) = Dir::new(below)
                {
                    self.directory(below, depth + 1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn everything_is_counted_once_and_symlinks_lead_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join("file"), vec![1; 100_000]).unwrap();
        fs::hard_link(below.join("file"), below.join("again")).unwrap();
        symlink("/usr", below.join("link")).unwrap();
        let usage = of_directory(directory.path());
        assert_eq!(usage.inodes, 4);
        assert!((100_000..400_000).contains(&usage.bytes), "{usage:?}");
    }

    #[test]
    fn nobody_counts_what_is_being_counted_or_was_just_now() {
        let mut count = DiskCount::default();
        assert!(begin(&mut count));
        assert!(!begin(&mut count));
        count = DiskCount {
            when: Some(Instant::now()),
            ..DiskCount::default()
        };
        assert!(!begin(&mut count));
    }

    #[test]
    fn a_directory_that_is_gone_holds_nothing() {
        assert_eq!(
            of_directory(Path::new("/nonexistent")),
            DiskUsage::default()
        );
    }
}
