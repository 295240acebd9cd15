//! cgroup v2: one per container, one per exec'd process below it.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agent_api::v1;
use rustix::fs::{Mode, OFlags, open};

mod error;
mod limits;
mod pod;
mod tree;

pub(crate) use error::CgroupError;
pub(crate) use pod::{PodCgroup, delegate};
use tree::{processes, remove_tree};

/// Where the hierarchy is mounted.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";

/// How often we look whether a cgroup has become empty.
const POLL: Duration = Duration::from_millis(2);

/// A container's cgroup, or that of a process exec'd in it.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    directory: OwnedFd,
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Cgroup {
    /// A container's.
    pub(crate) fn create(pod: &PodCgroup, name: &str) -> Result<Self, CgroupError> {
        Self::create_at(&pod.path, name)
    }

    /// One below this one, for processes to be told from the others. It has no limits of its own.
    pub(crate) fn create_child(&self, name: &str) -> Result<Self, CgroupError> {
        Self::create_at(&self.path, name)
    }

    fn create_at(parent: &Path, name: &str) -> Result<Self, CgroupError> {
        if !is_name(name) {
            return Err(CgroupError::Name(name.to_owned()));
        }
        let path = parent.join(name);
        let made = || {
            match fs::create_dir(&path) {
                // Left behind by an agent that died: whatever is not in use goes.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    remove_tree(&path)?;
                    fs::create_dir(&path)?;
                }
                other => other?,
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Ok(open(&path, flags, Mode::empty())?)
        };
        match made() {
            Ok(directory) => Ok(Self { path, directory }),
            Err(source) => Err(CgroupError::Create { path, source }),
        }
    }

    /// Sets those limits that are given.
    pub(crate) fn limit(&self, resources: &v1::Resources) -> Result<(), CgroupError> {
        limits::files(resources)?.into_iter().try_for_each(|limit| {
            let done = write(self.path.join(&limit.file), limit.value);
            if limit.needless {
                done.or_else(missing_is_fine)
            } else {
                done
            }
        })
    }

    /// Lets the processes use devices only as `filter` says.
    pub(crate) fn restrict_devices(&self, filter: &[u64]) -> Result<(), CgroupError> {
        use crate::sys::bpf::{attach_device_filter, load_device_filter};
        load_device_filter(filter)
            .and_then(|program| attach_device_filter(self.as_fd(), program.as_fd()))
            .map_err(|source| CgroupError::Devices {
                path: self.path.clone(),
                source,
            })
    }

    /// Kills everything in it and below, whatever it forks meanwhile.
    pub(crate) fn kill(&self) -> Result<(), CgroupError> {
        write(self.path.join("cgroup.kill"), "1".to_owned())
    }

    /// Waits until no process is left in it or below; tells whether that came to pass.
    pub(crate) async fn wait_until_empty(&self, limit: Duration) -> bool {
        let start = Instant::now();
        while self.is_populated() {
            if start.elapsed() > limit {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
        true
    }

    fn is_populated(&self) -> bool {
        self.counter("cgroup.events", "populated") == Some(1)
    }

    /// How many processes of it the kernel has killed for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        self.counter("memory.events", "oom_kill").unwrap_or(0)
    }

    /// The number behind `name` in a file of lines of names and numbers.
    pub(crate) fn counter(&self, file: &str, name: &str) -> Option<u64> {
        let text = fs::read_to_string(self.path.join(file)).ok()?;
        keyed(&text, name)
    }

    /// The content of one of its files.
    pub(crate) fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.path.join(file)).ok()
    }

    /// Opens one of its files for reading.
    pub(crate) fn open(&self, file: &str) -> std::io::Result<fs::File> {
        fs::File::open(self.path.join(file))
    }

    /// Moves the processes of `child` into this one, which must have no limits for its children.
    pub(crate) fn adopt_processes(&self, child: &Self) -> Result<(), CgroupError> {
        processes(&child.path).into_iter().try_for_each(|pid| {
            let pid = pid.as_raw_nonzero().get().to_string();
            write(self.path.join("cgroup.procs"), pid).or_else(missing_is_fine)
        })
    }

    /// Removes it at once, which works only while nothing is in it.
    pub(crate) fn remove_now(&self) -> Result<(), CgroupError> {
        remove_tree(&self.path).map_err(|source| CgroupError::Remove {
            path: self.path.clone(),
            source,
        })
    }

    /// Removes it and what is below. Fine if it is gone already.
    pub(crate) async fn remove(&self, limit: Duration) -> Result<(), CgroupError> {
        let start = Instant::now();
        loop {
            match remove_tree(&self.path) {
                Ok(()) => return Ok(()),
                // Killed processes take a moment.
                Err(error)
                    if error.kind() == ErrorKind::ResourceBusy && start.elapsed() < limit =>
                {
                    tokio::time::sleep(POLL).await;
                }
                Err(source) => {
                    return Err(CgroupError::Remove {
                        path: self.path.clone(),
                        source,
                    });
                }
            }
        }
    }
}

fn missing_is_fine(error: CgroupError) -> Result<(), CgroupError> {
    match &error {
        CgroupError::Write { source, .. }
            if source.kind() == ErrorKind::NotFound
                || source.raw_os_error() == Some(libc::ESRCH) =>
        {
            Ok(())
        }
        _ => Err(error),
    }
}

/// No name of a file of the kernel, and nothing that leads elsewhere.
pub(crate) fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.:@".contains(c);
    (1..=200).contains(&name.len())
        && name.chars().all(allowed)
        && !name.starts_with('.')
        && !name.starts_with("cgroup.")
}

fn write(path: PathBuf, value: String) -> Result<(), CgroupError> {
    match fs::write(&path, &value) {
        Ok(()) => Ok(()),
        Err(source) => Err(CgroupError::Write {
            path,
            value,
            source,
        }),
    }
}

/// The number behind `name` in lines of names and numbers.
pub(crate) fn keyed(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        for good in ["0123abcdef", "c-1_x.y:z@"] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "cgroup.procs",
            "a\n",
            &"x".repeat(201),
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn counters_are_found_by_their_whole_name() {
        let text = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(keyed(text, "oom_kill"), Some(2));
        assert_eq!(keyed(text, "oom"), Some(3));
        assert_eq!(keyed(text, "max"), None);
    }
}
