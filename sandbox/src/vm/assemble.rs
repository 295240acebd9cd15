//! Putting a container into a machine, and taking it out again.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use vmm_api::Request;

use super::config::HostVolumes;
use super::container::{Record, VmContainer};
use super::files::files;
use super::plan::policy;
use super::sandbox::Shared;
use super::volumes::{self, Volumes};
use crate::agent::{AgentContainer, Pids, refused, to_request};
use crate::leftovers::remove_path;
use crate::sizing::{Cover, Need, cover};
use crate::{ContainerId, ContainerSpec, Error, Kind, PidMode, Resources, Result, record};

/// Name of the file behind a container's writable layer.
const WRITABLE: &str = "writable.ext4";

/// How long a half-made container may keep a restarted server from taking back the others.
const DISMANTLE_LIMIT: Duration = Duration::from_secs(5);

const MIB: u64 = 1 << 20;

impl Shared {
    /// Makes a container. On failure nothing of it is left.
    pub(super) async fn assemble(
        self: &Arc<Self>,
        spec: ContainerSpec,
    ) -> Result<Arc<VmContainer>> {
        if spec.namespaces.pid == PidMode::Node {
            let doing =
                "make a container that sees the node's processes (hostPID): a machine has its own";
            return Err(Error::new(Kind::Unsupported, doing));
        }
        let mut record = Record {
            version: 1,
            log_path: spec.log_path.clone(),
            memory_bytes: spec.resources.memory_bytes,
            writable_file: spec.rootfs.writable_dir.join(WRITABLE),
            ..Record::default()
        };
        match self.build(&spec, &mut record).await {
            Ok(inner) => Ok(VmContainer::new(inner, record, self.clone())),
            Err(error) => {
                if let Err(left) = self.dismantle(&spec.id, &record).await {
                    tracing::error!(container_id = %spec.id, error = %left.chain(), "a half-made container is left");
                }
                Err(error)
            }
        }
    }

    async fn build(&self, spec: &ContainerSpec, record: &mut Record) -> Result<AgentContainer> {
        record
            .notes
            .extend(self.check_cover(&spec.id, record.memory_bytes)?);
        let volumes = copy_volumes(spec, self.config.host_volumes).await?;
        record.notes.extend(volumes.notes.iter().cloned());
        record.last_words = volumes.last_words.as_ref().map(|words| words.file.clone());
        self.open_log(&spec.id, spec.log_path.as_deref()).await?;
        let score = *self.oom_score.lock();
        let score = score.or(spec.process.oom_score_adj).unwrap_or(0);
        let shares = self.shares.provide(&volumes.shared, score).await?;
        self.attach_disks(spec, &volumes, record).await?;
        let kept = Record::path(&self.launched.places.containers, &spec.id);
        // Before the agent knows of it, so that a server that dies in between finds all of it again.
        record::write(&kept, record)?;
        let serials = record.disks().map(|disk| disk.serial.clone()).collect();
        let agent = &self.launched.agent;
        agent
            .client()
            .rescan_disks(serials)
            .await
            .map_err(refused)?;
        let request = to_request(spec, files(volumes, record, &shares, &spec.mounts)?);
        let inner = agent
            .create(&spec.id, request, Pids::OfGuest, record.ours())
            .await?;
        record.user = inner.status().user;
        record::write(&kept, record)?;
        self.lower_oom_score(spec).await;
        Ok(inner)
    }

    /// Whether the machine has the memory for a container with this limit beside the others. Answers
    /// what is to be said about it.
    fn check_cover(&self, id: &ContainerId, memory_bytes: Option<i64>) -> Result<Option<String>> {
        let mut needs = self.needs(id)?;
        needs.push(Need { memory_bytes });
        let policy = policy(&self.config, self.host_cpus);
        match cover(&policy, &self.launched.size, &needs) {
            Cover::Enough => Ok(None),
            Cover::Tight(told) => {
                tracing::info!(container_id = %id, memory = told, "a machine is fuller than planned");
                Ok(Some(format!("the machine is fuller than planned: {told}")))
            }
            Cover::Short(told) => {
                let doing = format!(
                    "fit container {id} into the machine, which can't grow yet: {told}; the pod's \
                     limits were not in linux.resources when its sandbox was made"
                );
                Err(Error::new(Kind::NoSpace, doing))
            }
        }
    }

    /// Changes a container's limits, within what the machine has.
    pub(super) async fn update(&self, inner: &AgentContainer, resources: &Resources) -> Result<()> {
        if resources.memory_bytes.is_some() {
            self.check_cover(inner.id(), resources.memory_bytes)?;
        }
        inner.update(resources).await?;
        let kept = Record::path(&self.launched.places.containers, inner.id());
        if let (Some(bytes), Some(mut record)) =
            (resources.memory_bytes, record::read::<Record>(&kept)?)
        {
            record.memory_bytes = Some(bytes);
            record::write(&kept, &record)?;
        }
        Ok(())
    }

    /// What the containers need that live beside `other`.
    fn needs(&self, other: &ContainerId) -> Result<Vec<Need>> {
        let living = self.launched.agent.table().living();
        let beside = living.iter().filter(|(id, _)| id != other);
        beside
            .map(|(id, _)| {
                let kept = Record::path(&self.launched.places.containers, id);
                let record = record::read::<Record>(&kept)?.unwrap_or_default();
                Ok(Need {
                    memory_bytes: record.memory_bytes,
                })
            })
            .collect()
    }

    async fn attach_disks(
        &self,
        spec: &ContainerSpec,
        volumes: &Volumes,
        record: &mut Record,
    ) -> Result<()> {
        let further = volumes.images.iter().map(|image| &image.files);
        for image in std::iter::once(&spec.rootfs.image).chain(further) {
            let disk = self.disks.attach_image(&spec.id, image).await?;
            record.images.push(disk);
        }
        let bytes = spec
            .rootfs
            .writable_limit_bytes
            .unwrap_or(self.config.writable_disk_mib * MIB);
        let blank = self.blank_disks.make(&record.writable_file, bytes).await?;
        record.writable_blank_bytes = blank.used_bytes;
        let writable = self
            .disks
            .attach_writable(&record.writable_file, blank.bytes)
            .await?;
        record.writable = Some(writable);
        Ok(())
    }

    /// VMM and file server are as hard to kill as the container that is hardest to kill.
    async fn lower_oom_score(&self, spec: &ContainerSpec) {
        let Some(score) = self.lower_score(spec) else {
            return;
        };
        let lowered = self.launched.supervisor.set_oom_score_adj(score);
        let lowered = lowered.and(self.shares.set_oom_score_adj(score).await);
        if let Err(error) = lowered {
            tracing::warn!(error = %error.chain(), "a machine's processes keep their old oom_score_adj");
        }
    }

    /// The lowest score with this container's, if it is a new one.
    fn lower_score(&self, spec: &ContainerSpec) -> Option<i32> {
        let score = spec.process.oom_score_adj?;
        let mut lowest = self.oom_score.lock();
        let is_new = lowest.is_none_or(|lowest| score < lowest);
        is_new.then(|| *lowest.insert(score))
    }

    /// Hands the VMM a freshly opened log file; without a path the output goes nowhere.
    pub(super) async fn open_log(&self, id: &ContainerId, path: Option<&Path>) -> Result<()> {
        let Some(path) = path else { return Ok(()) };
        let file = cri_log::open(path)
            .map_err(|e| Error::io(format!("open log {}", path.display()), e))?;
        let request = Request::OpenLog {
            container: id.0.clone(),
            file: 0,
        };
        self.launched.control.tell(&request, &[file.as_fd()]).await
    }

    /// Kills what is left of a container and takes everything of it away. Idempotent, and content with
    /// a container that was only half made.
    pub(super) async fn dismantle(&self, id: &ContainerId, record: &Record) -> Result<()> {
        let taken_out = self.take_out(id, record).await;
        if self.ending.now().is_none() {
            taken_out?;
        }
        self.launched.agent.table().remove(id);
        remove_path(&record.writable_file)?;
        remove_path(&Record::path(&self.launched.places.containers, id))
    }

    async fn take_out(&self, id: &ContainerId, record: &Record) -> Result<()> {
        let agent = &self.launched.agent;
        agent
            .client()
            .remove_container(&id.0)
            .await
            .map_err(refused)?;
        if let Some(writable) = &record.writable {
            self.disks.detach(agent, writable).await?;
        }
        for image in &record.images {
            self.disks.release_image(agent, id, &image.key).await?;
        }
        let request = Request::CloseLog {
            container: id.0.clone(),
        };
        match self.launched.control.tell(&request, &[]).await {
            Err(error) if error.kind() != Kind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes back the containers that were made before a restart of ours, and removes the half-made.
    pub(super) async fn recall(&self) -> Result<()> {
        self.shares.recall().await?;
        let agent = &self.launched.agent;
        let records = self.records()?;
        self.disks.recall(&records).await;
        let mut known = Vec::new();
        for (id, record) in &records {
            let kept = match agent.table().get(id) {
                Some(life) => {
                    life.set_user(record.user.clone());
                    true
                }
                None => !self.dismantle_in_time(id, record).await,
            };
            if kept {
                known.extend(record.disks().cloned());
            }
        }
        self.disks.detach_unknown(agent, &known).await
    }

    /// Tells whether it is gone. One that is not must not keep the others from being taken back, and is
    /// tried again at the next restart.
    async fn dismantle_in_time(&self, id: &ContainerId, record: &Record) -> bool {
        let dismantled = tokio::time::timeout(DISMANTLE_LIMIT, self.dismantle(id, record));
        match dismantled.await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => {
                tracing::warn!(container_id = %id, error = %error.chain(), "a half-made container can't be removed");
            }
            Err(_) => {
                tracing::warn!(container_id = %id, limit = ?DISMANTLE_LIMIT, "a half-made container is not removed in time");
            }
        }
        false
    }

    fn records(&self) -> Result<Vec<(ContainerId, Record)>> {
        let dir = &self.launched.places.containers;
        let listing = || format!("list {}", dir.display());
        let mut records = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(|e| Error::io(listing(), e))? {
            let path = entry.map_err(|e| Error::io(listing(), e))?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if let Some(id) = name.strip_suffix(".json")
                && let Some(record) = record::read(&path)?
            {
                records.push((ContainerId(id.to_owned()), record));
            }
        }
        Ok(records)
    }

    /// What is to be said about its containers, for people.
    pub(super) fn notes(&self) -> Vec<(String, String)> {
        let records = self.records().unwrap_or_default();
        let noted = records
            .into_iter()
            .filter(|(_, record)| !record.notes.is_empty());
        noted
            .map(|(id, record)| (format!("container {id}"), record.notes.join("; ")))
            .collect()
    }

    /// The container's record, and whether it still lives.
    pub(super) fn known(self: &Arc<Self>, id: &ContainerId) -> Result<Option<Arc<VmContainer>>> {
        let Some(inner) = self.launched.agent.known(id) else {
            return Ok(None);
        };
        let kept = Record::path(&self.launched.places.containers, id);
        let record = record::read::<Record>(&kept)?.unwrap_or_default();
        Ok(Some(VmContainer::new(inner, record, self.clone())))
    }
}

/// Reading the node's files may take long, so it is done where that does no harm.
async fn copy_volumes(spec: &ContainerSpec, host_volumes: HostVolumes) -> Result<Volumes> {
    let spec = spec.clone();
    tokio::task::spawn_blocking(move || volumes::provide(&spec, host_volumes))
        .await
        .map_err(|e| Error::caused(Kind::Internal, "copy volumes", e))?
}
