//! The disks of one machine: one per image, shared by its containers, and one per writable layer.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use vmm_api::{BlkAccess, BlkSpec, DeviceAddress, DeviceSpec, Extent, Reply, Request};

use super::container::Record;
use super::control::Control;
use crate::agent::{Agent, refused};
use crate::spec::{self, ImageFiles};
use crate::{ContainerId, Error, Kind, Result};

/// A disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Disk {
    /// How the guest tells it from others.
    pub(super) serial: String,
    /// Where it is attached.
    address: DeviceAddress,
}

/// A disk with an image's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ImageDisk {
    /// Names the content.
    pub(super) key: String,
    /// The disk.
    pub(super) disk: Disk,
}

/// The disks of one machine.
#[derive(Debug)]
pub(super) struct Disks {
    control: Arc<Control>,
    state: Mutex<State>,
    /// An address is another disk's as soon as its disk is detached, so nobody looks meanwhile.
    detaching: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Serial numbers are never used twice.
    next: u32,
    images: HashMap<String, Shared>,
}

#[derive(Debug)]
struct Shared {
    disk: Disk,
    users: HashSet<ContainerId>,
}

impl Disks {
    /// A machine without disks.
    pub(super) fn none(control: Arc<Control>) -> Self {
        Self {
            control,
            state: Mutex::default(),
            detaching: Mutex::default(),
        }
    }

    /// Takes back what containers use since before a restart of ours. All of them at once: one that is then
    /// removed must not take a disk along that another has, too.
    pub(super) async fn recall(&self, containers: &[(ContainerId, Record)]) {
        let mut state = self.state.lock().await;
        for (user, record) in containers {
            for image in &record.images {
                let shared = state
                    .images
                    .entry(image.key.clone())
                    .or_insert_with(|| Shared {
                        disk: image.disk.clone(),
                        users: HashSet::new(),
                    });
                shared.users.insert(user.clone());
            }
            for disk in record.disks() {
                let after = disk.number().map_or(0, |number| number.saturating_add(1));
                state.next = state.next.max(after);
            }
        }
    }

    /// Detaches what no container uses: the server died while it made or removed one.
    pub(super) async fn detach_unknown(&self, agent: &Agent, known: &[Disk]) -> Result<()> {
        for disk in self.attached().await? {
            if !known.contains(&disk) {
                tracing::info!(
                    serial = disk.serial,
                    "detaching a disk that no container uses"
                );
                self.detach(agent, &disk).await?;
            }
        }
        Ok(())
    }

    /// The disks that the machine has.
    async fn attached(&self) -> Result<Vec<Disk>> {
        let Reply::Status(status) = self.control.ask(&Request::Status, &[]).await? else {
            return Err(Error::new(
                Kind::Internal,
                "ask the VMM for its disks: it told something else",
            ));
        };
        let disks = status.devices.into_iter();
        Ok(disks
            .map(|(address, serial)| Disk { serial, address })
            .collect())
    }

    /// The disk with an image's files, attached for its first user.
    pub(super) async fn attach_image(
        &self,
        user: &ContainerId,
        files: &ImageFiles,
    ) -> Result<ImageDisk> {
        let ImageFiles::Extents { key, extents } = files else {
            return Err(Error::new(
                Kind::Invalid,
                "use a mounted image in a machine",
            ));
        };
        let mut state = self.state.lock().await;
        if let Some(shared) = state.images.get_mut(key) {
            shared.users.insert(user.clone());
            let (key, disk) = (key.clone(), shared.disk.clone());
            return Ok(ImageDisk { key, disk });
        }
        let (files, extents) = open_extents(extents)?;
        let serial = state.serial("image");
        let disk = self
            .attach(serial, BlkAccess::ReadOnly, extents, &files)
            .await?;
        let users = HashSet::from([user.clone()]);
        let shared = Shared {
            disk: disk.clone(),
            users,
        };
        state.images.insert(key.clone(), shared);
        Ok(ImageDisk {
            key: key.clone(),
            disk,
        })
    }

    /// A disk for a writable layer, of which `path` is the content.
    pub(super) async fn attach_writable(&self, path: &Path, bytes: u64) -> Result<Disk> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|e| Error::io(format!("open disk {}", path.display()), e))?;
        let serial = self.state.lock().await.serial("writable");
        let whole = Extent {
            file: 0,
            offset: 0,
            len: bytes,
        };
        self.attach(serial, BlkAccess::ReadWrite, vec![whole], &[file])
            .await
    }

    async fn attach(
        &self,
        serial: String,
        access: BlkAccess,
        extents: Vec<Extent>,
        files: &[File],
    ) -> Result<Disk> {
        let blk = BlkSpec {
            serial: serial.clone(),
            access,
            extents,
        };
        let fds: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        let request = Request::Attach(DeviceSpec::Blk(blk));
        match self.control.ask(&request, &fds).await? {
            Reply::Attached(address) => Ok(Disk { serial, address }),
            other => {
                let doing = format!("attach disk {serial}: the VMM answered {other:?}");
                Err(Error::new(Kind::Internal, doing))
            }
        }
    }

    /// The container no longer uses the image; after its last user the disk goes.
    pub(super) async fn release_image(
        &self,
        agent: &Agent,
        user: &ContainerId,
        key: &str,
    ) -> Result<()> {
        let mut state = self.state.lock().await;
        let Some(shared) = state.images.get_mut(key) else {
            return Ok(());
        };
        shared.users.remove(user);
        if !shared.users.is_empty() {
            return Ok(());
        }
        let disk = shared.disk.clone();
        self.detach(agent, &disk).await?;
        state.images.remove(key);
        Ok(())
    }

    /// Takes a disk away, unless it is away already: its address may be that of another one by now. A guest
    /// that does not let go of it loses it all the same.
    pub(super) async fn detach(&self, agent: &Agent, disk: &Disk) -> Result<()> {
        let _one_at_a_time = self.detaching.lock().await;
        if !self.attached().await?.contains(disk) {
            return Ok(());
        }
        if let Err(error) = agent.client().release_disk(&disk.serial).await {
            let error = refused(error).chain();
            tracing::warn!(
                serial = disk.serial,
                error,
                "the guest does not release a disk"
            );
        }
        match self.control.tell(&Request::Detach(disk.address), &[]).await {
            Err(error) if error.kind() != Kind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl State {
    fn serial(&mut self, kind: &str) -> String {
        let number = self.next;
        self.next += 1;
        format!("{kind}-{number}")
    }
}

impl Disk {
    fn number(&self) -> Option<u32> {
        self.serial.rsplit_once('-')?.1.parse().ok()
    }
}

/// Opens each file once, however many pieces of it there are.
fn open_extents(extents: &[spec::Extent]) -> Result<(Vec<File>, Vec<Extent>)> {
    let mut files = Vec::new();
    let mut numbers: HashMap<&PathBuf, u32> = HashMap::new();
    let mut opened = Vec::with_capacity(extents.len());
    for extent in extents {
        let file = match numbers.get(&extent.path) {
            Some(number) => *number,
            None => {
                let file = File::open(&extent.path)
                    .map_err(|e| Error::io(format!("open {}", extent.path.display()), e))?;
                let number = u32::try_from(files.len())
                    .map_err(|e| Error::caused(Kind::Invalid, "count the files of an image", e))?;
                files.push(file);
                numbers.insert(&extent.path, number);
                number
            }
        };
        opened.push(Extent {
            file,
            offset: extent.offset,
            len: extent.len,
        });
    }
    Ok((files, opened))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_of_an_image_is_opened_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, [0; 8192]).unwrap();
            path
        };
        let (a, b) = (path("a"), path("b"));
        let extent = |path: &Path, offset| spec::Extent {
            path: path.to_owned(),
            offset,
            len: 4096,
        };
        let extents = [extent(&a, 0), extent(&b, 0), extent(&a, 4096)];
        let (files, opened) = open_extents(&extents).unwrap();
        assert_eq!(files.len(), 2);
        let numbers: Vec<_> = opened
            .iter()
            .map(|extent| (extent.file, extent.offset))
            .collect();
        assert_eq!(numbers, [(0, 0), (1, 0), (0, 4096)]);
    }

    #[test]
    fn a_missing_piece_is_named() {
        let extent = spec::Extent {
            path: "/nonexistent/layer".into(),
            offset: 0,
            len: 4096,
        };
        let error = open_extents(&[extent]).unwrap_err();
        assert_eq!(error.to_string(), "open /nonexistent/layer");
    }

    #[tokio::test]
    async fn serial_numbers_are_not_used_again_after_a_restart() {
        let disks = Disks::none(Arc::new(Control::at("/nonexistent".into())));
        let disk = Disk {
            serial: "writable-7".into(),
            address: DeviceAddress { slot: 4 },
        };
        let record = Record {
            writable: Some(disk),
            ..Record::default()
        };
        disks.recall(&[(ContainerId("c1".into()), record)]).await;
        let serial = disks.state.lock().await.serial("image");
        assert_eq!(serial, "image-8");
        assert!(serial.len() <= 20);
    }

    #[tokio::test]
    async fn an_image_that_another_container_uses_stays_when_one_is_removed_after_a_restart() {
        let disks = Disks::none(Arc::new(Control::at("/nonexistent".into())));
        let record = Record {
            images: vec![ImageDisk {
                key: "image".into(),
                disk: Disk {
                    serial: "image-1".into(),
                    address: DeviceAddress { slot: 4 },
                },
            }],
            ..Record::default()
        };
        let ids = ["c1", "c2"].map(|id| ContainerId(id.into()));
        disks
            .recall(&ids.clone().map(|id| (id, record.clone())))
            .await;
        let state = disks.state.lock().await;
        assert_eq!(state.images["image"].users, HashSet::from(ids));
    }
}
