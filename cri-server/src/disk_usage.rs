//! What a directory uses of its file system.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::error::Result;
use crate::host;

/// How old a measurement may be. The kubelet asks every ten seconds, and a walk over what all
/// containers have written costs as much as they have written.
const MAX_AGE: Duration = Duration::from_secs(15);

/// The last measurement of a directory.
#[derive(Default)]
pub(crate) struct LastUsage {
    last: Mutex<Option<(Instant, (u64, u64))>>,
}

impl LastUsage {
    /// What `directory` uses, or used a moment ago. Who asks during a walk waits for its end.
    pub(crate) async fn of(&self, directory: &Path) -> Result<(u64, u64)> {
        let mut last = self.last.lock().await;
        if let Some((at, usage)) = *last
            && at.elapsed() < MAX_AGE
        {
            return Ok(usage);
        }
        let directory = directory.to_path_buf();
        let usage = host::blocking(move || Ok(disk_usage(&directory))).await?;
        *last = Some((Instant::now(), usage));
        Ok(usage)
    }
}

/// Bytes on disk and inodes of a directory and all in it, links counted once. What vanishes while we
/// look is not counted; links are not followed, and other file systems not entered.
fn disk_usage(directory: &Path) -> (u64, u64) {
    let Ok(root) = directory.symlink_metadata() else {
        return (0, 0);
    };
    let mut seen = HashSet::new();
    let mut total = (0, 0);
    let mut left = vec![directory.to_path_buf()];
    while let Some(path) = left.pop() {
        let Ok(found) = path.symlink_metadata() else {
            continue;
        };
        let linked_before = found.nlink() > 1 && !found.is_dir() && !seen.insert(found.ino());
        if found.dev() != root.dev() || linked_before {
            continue;
        }
        total = (total.0 + found.blocks() * 512, total.1 + 1);
        if found.is_dir() {
            let entries = path.read_dir().into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path()));
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_by_what_they_use_and_links_once() {
        let dir = tempfile::tempdir().unwrap();
        let empty = disk_usage(dir.path());
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(dir.path().join("a/file"), vec![1; 100_000]).unwrap();
        std::fs::hard_link(dir.path().join("a/file"), dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("root")).unwrap();
        let sparse = std::fs::File::create(dir.path().join("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        let (bytes, inodes) = disk_usage(dir.path());
        assert_eq!(inodes - empty.1, 4, "a, file, root, sparse");
        assert!((100_000..1 << 30).contains(&bytes), "{bytes}");
    }

    #[test]
    fn what_is_not_there_uses_nothing() {
        assert_eq!(disk_usage(Path::new("/no/such/directory")), (0, 0));
    }
}
