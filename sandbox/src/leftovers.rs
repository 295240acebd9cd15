//! What has to be removed if this process dies now: one record per sandbox, written before anything is
//! made and forgotten after everything is gone.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cgroup::{Parent, PodCgroup};
use crate::{Error, Result, SandboxId, record, supervisor};

/// The records of one kind of sandbox.
#[derive(Clone, Debug)]
pub(crate) struct Leftovers {
    dir: PathBuf,
}

/// What a sandbox leaves behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leftover {
    /// Its cgroup.
    pub(crate) cgroup: String,
    /// Whose the cgroup's parent is.
    pub(crate) parent: Parent,
    /// The lock that its supervisor holds.
    pub(crate) lock: PathBuf,
    /// Files and directories of ours.
    pub(crate) files: Vec<PathBuf>,
}

impl Leftover {
    /// Kills and removes all of it. Idempotent.
    pub(crate) async fn remove(&self) -> Result<()> {
        let cgroup = PodCgroup::saved(self.cgroup.clone(), self.parent);
        cgroup.remove().await?;
        // Left is one whose server died after starting it and before moving it to its cgroup.
        supervisor::kill_holder(&self.lock)?;
        self.files.iter().try_for_each(|path| remove_path(path))
    }
}

impl Leftovers {
    /// The records in `dir`.
    pub(crate) fn in_dir(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn path(&self, id: &SandboxId) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }

    /// Remembers what a sandbox will leave behind.
    pub(crate) fn note(&self, id: &SandboxId, leftover: &Leftover) -> Result<()> {
        record::write(&self.path(id), leftover)
    }

    /// Removes what the sandbox left behind, and then the record.
    pub(crate) async fn clear(&self, id: &SandboxId) -> Result<()> {
        let path = self.path(id);
        if let Some(leftover) = record::read::<Leftover>(&path)? {
            leftover.remove().await?;
        }
        remove_path(&path)
    }

    /// Clears all but `keep`. One that can't be cleared does not keep the others; the first error is told.
    pub(crate) async fn sweep(&self, keep: &[SandboxId]) -> Result<()> {
        let keep: HashSet<_> = keep.iter().collect();
        let mut outcome = Ok(());
        for id in self.noted()? {
            if keep.contains(&id) {
                continue;
            }
            tracing::info!(sandbox_id = %id, "removing what a sandbox left behind");
            let cleared = self.clear(&id).await;
            if let Err(error) = &cleared {
                tracing::error!(sandbox_id = %id, error = %error.chain(), "it can't be removed");
            }
            outcome = outcome.and(cleared);
        }
        outcome
    }

    fn noted(&self) -> Result<Vec<SandboxId>> {
        let listing = || format!("list {}", self.dir.display());
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(|e| Error::io(listing(), e))? {
            let name = entry.map_err(|e| Error::io(listing(), e))?.file_name();
            if let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".json")) {
                ids.push(SandboxId(id.to_owned()));
            }
        }
        Ok(ids)
    }
}

/// Removes a file or a whole directory; one that isn't there is fine.
pub(crate) fn remove_path(path: &Path) -> Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leftover(dir: &Path, name: &str) -> Leftover {
        let files = dir.join(name);
        std::fs::create_dir(&files).unwrap();
        std::fs::write(files.join("agent.log"), "").unwrap();
        Leftover {
            cgroup: format!("/bulkhead-no-such-cgroup/{name}"),
            parent: Parent::Ours,
            lock: dir.join(format!("{name}.lock")),
            files: vec![files],
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_nobody_knows_any_more_is_removed_and_the_rest_kept() {
        let dir = tempfile::tempdir().unwrap();
        let records = dir.path().join("records");
        std::fs::create_dir(&records).unwrap();
        let leftovers = Leftovers::in_dir(records.clone());
        let (old, kept) = (SandboxId("old".into()), SandboxId("kept".into()));
        leftovers.note(&old, &leftover(dir.path(), "old")).unwrap();
        leftovers
            .note(&kept, &leftover(dir.path(), "kept"))
            .unwrap();

        leftovers.sweep(std::slice::from_ref(&kept)).await.unwrap();
        assert!(!dir.path().join("old").exists());
        assert!(dir.path().join("kept").exists());
        assert_eq!(leftovers.noted().unwrap(), [kept]);
        leftovers.clear(&old).await.unwrap();
    }
}
