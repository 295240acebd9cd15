//! The pod's cgroup on the host (cgroup v2 only).
//!
//! `<parent>/<sandbox id>` is ours; the parent is the kubelet's cgroup of the pod, or one of our own
//! where the kubelet named none. Processes sit in leaves of it: `supervisor` holds the agent or the
//! VMM, and the agent makes one per container. Parents that we did not make are never removed.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

mod limits;
mod remove;
mod stats;
mod weight;

pub use limits::Limits;
pub use weight::weight_of_shares;

use serde::{Deserialize, Serialize};

use crate::{Error, Kind, Result, SandboxId, SandboxSpec};

/// Where the hierarchy is mounted on every node that Kubernetes supports.
const ROOT: &str = "/sys/fs/cgroup";

/// The leaf of the pod's supervisor.
const SUPERVISOR: &str = "supervisor";

/// Without these, a pod's limits can't be kept.
const NEEDED: [&str; 3] = ["cpu", "memory", "pids"];

/// These are used where the node has them.
const WELCOME: [&str; 3] = ["cpuset", "io", "hugetlb"];

/// A container that may write to its cgroup makes at most so many below the pod's, so deep.
const BELOW_POD: [(&str, &str); 2] = [
    ("cgroup.max.descendants", "10000"),
    ("cgroup.max.depth", "32"),
];

/// How long the dead may take to leave a cgroup.
const REMOVAL_LIMIT: Duration = Duration::from_secs(10);

/// A pod's cgroup. It outlives this value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodCgroup {
    /// Relative to the root of the hierarchy, with a leading slash.
    path: String,
    parent: Parent,
}

/// Whose a pod's parent cgroup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parent {
    /// The kubelet made it for this pod and keeps its limits.
    Kubelet,
    /// The server's own; what limits there are, we set.
    Ours,
}

impl PodCgroup {
    /// The cgroup that a sandbox will have.
    pub fn of(spec: &SandboxSpec, our_parent: &str) -> Result<Self> {
        let (parent, owner) = match spec.cgroup_parent.as_str() {
            "" => (our_parent, Parent::Ours),
            kubelets => (kubelets, Parent::Kubelet),
        };
        Self::below(parent, owner, &spec.id)
    }

    fn below(parent: &str, owner: Parent, id: &SandboxId) -> Result<Self> {
        let inside = parent.split('/').all(|part| part != "..") && !id.0.contains('/');
        if !inside || id.0.is_empty() {
            let doing =
                format!("find cgroup {parent:?} of sandbox {id}: no path inside the hierarchy");
            return Err(Error::new(Kind::Invalid, doing));
        }
        Ok(Self {
            path: format!("/{}/{id}", parent.trim_matches('/')),
            parent: owner,
        })
    }

    /// The cgroup that was saved under this path.
    pub fn saved(path: String, parent: Parent) -> Self {
        Self { path, parent }
    }

    /// Relative to the root of the hierarchy, with a leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whose its parent is.
    pub fn parent(&self) -> Parent {
        self.parent
    }

    /// Its directory.
    pub fn dir(&self) -> PathBuf {
        Path::new(ROOT).join(self.path.trim_start_matches('/'))
    }

    /// Makes it and the supervisor's leaf, with all controllers on the way down. Making it again is fine.
    pub fn create(&self) -> Result<()> {
        let making = || format!("make cgroup {}", self.path);
        let supervisor = self.dir().join(SUPERVISOR);
        fs::create_dir_all(&supervisor).map_err(|e| Error::io(making(), e))?;
        enable_controllers(&self.dir())?;
        for (file, content) in BELOW_POD {
            write(&self.dir().join(file), content).map_err(|e| Error::io(making(), e))?;
        }
        Ok(())
    }

    /// Moves a process into the supervisor's leaf.
    pub fn adopt_supervisor(&self, pid: u32) -> Result<()> {
        let procs = self.dir().join(SUPERVISOR).join("cgroup.procs");
        write(&procs, &pid.to_string())
            .map_err(|e| Error::io(format!("move process {pid} to {}", procs.display()), e))
    }

    /// Sets its limits.
    pub fn apply(&self, limits: &Limits) -> Result<()> {
        for (file, content) in limits.files() {
            let path = self.dir().join(file);
            write(&path, &content)
                .map_err(|e| Error::io(format!("write {content:?} to {}", path.display()), e))?;
        }
        Ok(())
    }

    /// What a file of it holds, without the line's end.
    pub fn read(&self, file: &str) -> io::Result<String> {
        Ok(fs::read_to_string(self.dir().join(file))?
            .trim_end()
            .to_owned())
    }

    /// What a file of its parent holds, without the line's end; `None` where there is none, as in the root.
    pub fn read_parent(&self, file: &str) -> Option<String> {
        let path = self.dir().parent()?.join(file);
        Some(fs::read_to_string(path).ok()?.trim_end().to_owned())
    }

    /// Kills every process in it. A cgroup that is gone holds none.
    pub fn kill(&self) -> Result<()> {
        match write(&self.dir().join("cgroup.kill"), "1") {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::io(format!("kill all in cgroup {}", self.path), e))
            }
            _ => Ok(()),
        }
    }

    /// Kills what is in it and removes it with all below. Idempotent.
    pub async fn remove(&self) -> Result<()> {
        self.kill()?;
        remove::remove_tree(&self.dir(), REMOVAL_LIMIT)
            .await
            .map_err(|e| Error::io(format!("remove cgroup {}", self.path), e))
    }
}

/// Whether this node has what we need: cgroup v2 alone, with the controllers.
pub fn check_hierarchy() -> Result<(), String> {
    let controllers =
        fs::read_to_string(Path::new(ROOT).join("cgroup.controllers")).map_err(|_| {
            format!(
                "{ROOT} is not a cgroup v2 hierarchy; boot with systemd.unified_cgroup_hierarchy=1"
            )
        })?;
    let missing: Vec<_> = NEEDED
        .iter()
        .filter(|needed| !controllers.split_whitespace().any(|c| c == **needed))
        .copied()
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "the cgroup controllers {} are missing",
            missing.join(", ")
        ))
    }
}

/// Lets every level from the root down to `dir` itself hand controllers to its children.
fn enable_controllers(dir: &Path) -> Result<()> {
    let levels: Vec<_> = dir
        .ancestors()
        .take_while(|level| level.starts_with(ROOT))
        .collect();
    for level in levels.into_iter().rev() {
        enable_at(level)?;
    }
    Ok(())
}

fn enable_at(level: &Path) -> Result<()> {
    let read = |file: &str| fs::read_to_string(level.join(file)).unwrap_or_default();
    let available = read("cgroup.controllers");
    let enabled = read("cgroup.subtree_control");
    let has = |list: &str, name: &str| list.split_whitespace().any(|entry| entry == name);
    for name in NEEDED.into_iter().chain(WELCOME) {
        if has(&enabled, name) || !has(&available, name) {
            continue;
        }
        // One by one: a write that names one impossible controller enables none of the others.
        let written = write(&level.join("cgroup.subtree_control"), &format!("+{name}"));
        if let Err(source) = written
            && NEEDED.contains(&name)
        {
            let doing = format!("enable controller {name} in {}", level.display());
            return Err(Error::io(doing, source));
        }
    }
    Ok(())
}

/// Writes to a file that the kernel made; never makes one.
fn write(path: &Path, content: &str) -> io::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(content.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(parent: &str, id: &str, path: Option<&str>) {
        let cgroup = PodCgroup::below(parent, Parent::Ours, &SandboxId(id.into()));
        assert_eq!(cgroup.ok().as_ref().map(PodCgroup::path), path);
    }

    #[test]
    fn a_pods_cgroup_lies_below_its_parent() {
        check("/bulkhead", "p1", Some("/bulkhead/p1"));
        check(
            "kubepods/burstable/pod7/",
            "p1",
            Some("/kubepods/burstable/pod7/p1"),
        );
    }

    #[test]
    fn a_parent_outside_the_hierarchy_is_refused() {
        check("/kubepods/../../../etc", "p1", None);
        check("/bulkhead", "../p1", None);
        check("/bulkhead", "", None);
    }
}
