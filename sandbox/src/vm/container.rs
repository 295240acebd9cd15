//! A container in a machine.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::disks::{Disk, ImageDisk};
use super::sandbox::Shared;
use crate::agent::{AgentContainer, Ours};
use crate::{
    Container, ContainerExit, ContainerId, ContainerStats, ContainerStatus, ExecSpec, Process,
    Resources, Result, Signal, record,
};

/// A container in a machine.
pub(super) struct VmContainer {
    inner: AgentContainer,
    record: Record,
    sandbox: Arc<Shared>,
}

/// What we keep of a container, on the node, for its removal and for a restart of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) version: u32,
    pub(super) user: (u32, u32, Vec<u32>),
    pub(super) log_path: Option<PathBuf>,
    /// Its memory limit, as it was when it was made.
    pub(super) memory_bytes: Option<i64>,
    /// The file behind its writable layer, and what that took on the node while it was empty.
    pub(super) writable_file: PathBuf,
    pub(super) writable_blank_bytes: u64,
    pub(super) writable: Option<Disk>,
    pub(super) images: Vec<ImageDisk>,
    /// What differs from a container on the node, for people.
    pub(super) notes: Vec<String>,
    /// The file on the node that its last words belong in.
    #[serde(default)]
    pub(super) last_words: Option<PathBuf>,
}

impl Record {
    /// All disks that the container uses.
    pub(super) fn disks(&self) -> impl Iterator<Item = &Disk> {
        self.images
            .iter()
            .map(|image| &image.disk)
            .chain(&self.writable)
    }

    /// Where it is kept.
    pub(super) fn path(dir: &Path, id: &ContainerId) -> PathBuf {
        dir.join(format!("{id}.json"))
    }

    /// That of a container of ours. The id may be a guest's words, and must not become any path of the node.
    pub(super) fn kept(dir: &Path, id: &ContainerId) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if !id.0.bytes().all(plain) || id.0.len() >= 200 {
            return None;
        }
        let path = Self::path(dir, id);
        record::read(&path).unwrap_or_else(|error| {
            // It stays one of ours, and whoever needs more of it says so.
            tracing::warn!(container_id = %id, error = %error.chain(), "a container's record can't be read");
            Some(Self::default())
        })
    }

    /// What the agent does not know of it.
    pub(super) fn ours(&self) -> Ours {
        Ours {
            last_words: self.last_words.clone(),
        }
    }
}

impl VmContainer {
    pub(super) fn new(inner: AgentContainer, record: Record, sandbox: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            record,
            sandbox,
        })
    }

    /// Bytes on the node of what was written to its root.
    fn writable_bytes(&self) -> Option<u64> {
        let metadata = std::fs::metadata(&self.record.writable_file).ok()?;
        let used = metadata.blocks().saturating_mul(512);
        Some(used.saturating_sub(self.record.writable_blank_bytes))
    }
}

#[async_trait]
impl Container for VmContainer {
    fn id(&self) -> &ContainerId {
        self.inner.id()
    }

    async fn start(&self) -> Result<()> {
        self.inner.start().await
    }

    async fn exec(&self, spec: ExecSpec) -> Result<Process> {
        self.inner.exec(spec).await
    }

    async fn attach(&self, spec: ExecSpec) -> Result<Process> {
        self.inner.attach(spec).await
    }

    async fn signal(&self, signal: Signal) -> Result<()> {
        self.inner.signal(signal).await
    }

    async fn update(&self, resources: Resources) -> Result<()> {
        self.sandbox.update(&self.inner, &resources).await
    }

    async fn stats(&self) -> Result<ContainerStats> {
        let mut stats = self.inner.stats().await?;
        // The node's view: what the guest says of its own disk is not what it costs.
        stats.writable_bytes = self.writable_bytes().unwrap_or(0);
        Ok(stats)
    }

    async fn status(&self) -> Result<ContainerStatus> {
        Ok(self.inner.status())
    }

    async fn wait(&self) -> ContainerExit {
        self.inner.wait().await
    }

    async fn reopen_log(&self) -> Result<()> {
        self.sandbox
            .open_log(self.id(), self.record.log_path.as_deref())
            .await
    }

    async fn remove(&self) -> Result<()> {
        self.sandbox.dismantle(self.id(), &self.record).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_a_guest_made_up_is_no_path() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        std::fs::create_dir(&kept).unwrap();
        for path in [kept.join("c1.json"), dir.path().join("outside.json")] {
            record::write(&path, &Record::default()).unwrap();
        }
        let is_kept = |id: &str| Record::kept(&kept, &ContainerId(id.into())).is_some();
        assert!(is_kept("c1"));
        let absolute = dir.path().join("outside");
        for id in ["c2", "", "../outside", absolute.to_str().unwrap()] {
            assert!(!is_kept(id), "{id}");
        }
    }
}
