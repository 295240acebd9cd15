//! Removing a cgroup with all below, while the kernel is still burying its processes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Processes are gone from a cgroup some time after they were killed, so removal is tried this often.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Removes `dir` and what is below, deepest first. Trying ends after `limit`.
pub(super) async fn remove_tree(dir: &Path, limit: Duration) -> io::Result<()> {
    let deadline = Instant::now() + limit;
    let mut pause = FIRST_PAUSE;
    loop {
        match remove_once(dir) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => sleep(pause).await,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn remove_once(dir: &Path) -> io::Result<()> {
    let mut levels = match below(dir) {
        Ok(levels) => levels,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    while let Some(level) = levels.pop() {
        match fs::remove_dir(&level) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// `dir` and all cgroups below it, parents before children. Not recursive: the depth is the pod's choice.
fn below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![dir.to_owned()];
    let mut next = 0;
    while let Some(level) = found.get(next).cloned() {
        next += 1;
        for entry in fs::read_dir(&level)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_tree_goes_with_all_below_and_again() {
        let dir = tempfile::tempdir().unwrap();
        let pod = dir.path().join("pod");
        fs::create_dir_all(pod.join("a/b/c")).unwrap();
        fs::create_dir_all(pod.join("d")).unwrap();
        for _ in 0..2 {
            remove_tree(&pod, Duration::ZERO).await.unwrap();
            assert!(!pod.exists());
        }
        assert!(dir.path().exists());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_stays_busy_is_given_up_after_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        // A file cannot be removed as a cgroup, just as one with processes.
        fs::write(dir.path().join("busy"), "").unwrap();
        let error = remove_tree(dir.path(), Duration::from_millis(5)).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::DirectoryNotEmpty);
    }
}
