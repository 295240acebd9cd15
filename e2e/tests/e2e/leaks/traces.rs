//! Everything of the node that a pod could leave behind.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

/// How long slow endings may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where we, and the plugins that connect pods, keep files. Pulled images are among them, and addresses
/// that `host-local` has given out.
const DIRECTORIES: [&str; 4] = [
    "/run/bulkhead",
    "/run/netns",
    "/var/lib/bulkhead",
    "/var/lib/cni",
];

/// What is there at one time, one line for each thing.
#[derive(Debug)]
pub(super) struct Traces(Vec<String>);

impl Traces {
    pub(super) fn take() -> Result<Self> {
        let mut traces = processes()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        traces.extend(points.map(|point| format!("mount {point}")));
        traces.extend(below("cgroup", "/sys/fs/cgroup".as_ref(), &Path::is_dir));
        for directory in DIRECTORIES {
            traces.extend(below("file", directory.as_ref(), &|path| {
                !is_of_database(path)
            }));
        }
        traces.extend(names("/sys/class/net").map(|name| format!("link {name}")));
        let is_loop = |name: &String| Path::new("/sys/block").join(name).join("loop").exists();
        let loops = names("/sys/block").filter(is_loop);
        traces.extend(loops.map(|name| format!("loop device {name}")));
        Ok(Self(traces))
    }

    /// That nothing has come since, or that it goes soon. `when` is for whoever reads the failure.
    pub(super) async fn are_all(&self, when: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let new = Self::take()?.without(self);
            if new.is_empty() || Instant::now() > deadline {
                assert!(new.is_empty(), "left {when}: {new:#?}");
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Those that `others` has not, or has less often.
    fn without(self, others: &Self) -> Vec<String> {
        let mut others = others.0.clone();
        let mut traces = self.0;
        traces.retain(|trace| {
            let same = others.iter().position(|other| other == trace);
            same.map(|index| others.swap_remove(index)).is_none()
        });
        traces
    }
}

/// It grows and shrinks as it likes.
fn is_of_database(path: &Path) -> bool {
    path.to_string_lossy().contains(".db")
}

/// All but the kernel's own. Without their ids: the server has another one after each kill.
fn processes() -> Result<Vec<String>> {
    const KERNEL: &str = "2";
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        // Not a process, or one that has just ended.
        let Ok(stat) = fs::read_to_string(path.join("stat")) else {
            continue;
        };
        // proc_pid_stat(5): `pid (name) state ppid`, and names may hold anything.
        let Some((head, tail)) = stat.rsplit_once(") ") else {
            continue;
        };
        let Some((pid, name)) = head.split_once(" (") else {
            continue;
        };
        let of_kernel = pid == KERNEL || tail.split(' ').nth(1) == Some(KERNEL);
        if !of_kernel {
            let command = fs::read_to_string(path.join("cmdline")).unwrap_or_default();
            found.push(format!("process {name}: {}", command.replace('\0', " ")));
        }
    }
    Ok(found)
}

fn names(directory: &str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

fn below(what: &str, root: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        if wanted(&path) {
            found.push(format!("{what} {}", path.display()));
            if path.is_dir() && !path.is_symlink() {
                found.extend(below(what, &path, wanted));
            }
        }
    }
    found
}
