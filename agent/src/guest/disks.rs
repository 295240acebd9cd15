//! Disks of the guest by serial number: images, shared and read-only, and one writable disk per
//! container.

mod container;
mod device;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_api::v1;
pub(crate) use container::ContainerDisks;
pub(crate) use device::rescan;
use device::{Content, check_serial, find, mount};
use parking_lot::Mutex;
use rustix::mount::{UnmountFlags, unmount};

use super::{GuestError, write_file};
use crate::mode::Mode;

/// Where disks are mounted, each in a directory of its serial number.
const DIRECTORY: &str = "/run/bulkhead/disks";

/// How often we look whether something has come or gone.
const POLL: Duration = Duration::from_millis(5);

/// All disks that are mounted, with the number of their users.
#[derive(Debug, Default)]
pub(crate) struct Disks {
    users: Mutex<HashMap<String, usize>>,
}

impl Disks {
    /// Mounts the disks that `request` names, and returns it with paths in their places. On the host there
    /// are none.
    pub(crate) async fn mount_for(
        self: &Arc<Self>,
        mode: Mode,
        mut request: v1::CreateContainerRequest,
    ) -> Result<(v1::CreateContainerRequest, Option<ContainerDisks>), GuestError> {
        if mode == Mode::Host {
            return refuse_disks(&request).map(|()| (request, None));
        }
        let all = Arc::clone(self);
        // A disk may be slow, and a device late.
        let mounting = tokio::task::spawn_blocking(move || {
            let used = all.mount(&mut request)?;
            Ok((request, Some(used)))
        });
        mounting.await.expect("mounting does not panic")
    }

    fn mount(
        self: &Arc<Self>,
        request: &mut v1::CreateContainerRequest,
    ) -> Result<ContainerDisks, GuestError> {
        let mut used = ContainerDisks {
            all: Arc::clone(self),
            serials: Vec::new(),
            writable: None,
            last_words: None,
        };
        match used.resolve(request) {
            Ok(()) => Ok(used),
            Err(error) => {
                used.release_now();
                Err(error)
            }
        }
    }

    /// Mounts a disk, or counts one more user of it.
    fn acquire(&self, serial: &str, content: Content) -> Result<PathBuf, GuestError> {
        check_serial(serial)?;
        let place = Path::new(DIRECTORY).join(serial);
        let mut users = self.users.lock();
        match (users.get_mut(serial), content) {
            (Some(_), Content::Writable) => return Err(GuestError::DiskInUse(serial.to_owned())),
            (Some(count), Content::Image) => *count += 1,
            (None, _) => {
                mount(serial, &place, content)?;
                users.insert(serial.to_owned(), 1);
            }
        }
        Ok(place)
    }

    /// Counts one user less, and unmounts after the last. `Err` means that the kernel still uses it.
    fn release(&self, serial: &str) -> rustix::io::Result<()> {
        let mut users = self.users.lock();
        match users.get_mut(serial) {
            None => Ok(()),
            Some(count) if *count > 1 => {
                *count -= 1;
                Ok(())
            }
            Some(_) => {
                unmount(
                    Path::new(DIRECTORY).join(serial).as_path(),
                    UnmountFlags::empty(),
                )?;
                users.remove(serial);
                Ok(())
            }
        }
    }

    /// Lets go of a disk so that it can be detached from the machine. One that is gone is fine.
    pub(crate) fn detach(&self, serial: &str) -> Result<(), GuestError> {
        check_serial(serial)?;
        if self.users.lock().contains_key(serial) {
            return Err(GuestError::DiskInUse(serial.to_owned()));
        }
        let Some(name) = find(serial) else {
            return Ok(());
        };
        // The block device sits on a virtio device, and that on a PCI device.
        write_file(
            "detach",
            &format!("/sys/block/{name}/device/../remove"),
            "1",
        )
    }
}

fn refuse_disks(request: &v1::CreateContainerRequest) -> Result<(), GuestError> {
    let kind = request
        .rootfs
        .as_ref()
        .and_then(|rootfs| rootfs.kind.as_ref());
    if matches!(kind, Some(v1::rootfs::Kind::Disk(_))) {
        return Err(GuestError::NotAGuest("using a disk as root file system"));
    }
    if request
        .mounts
        .iter()
        .any(|mount| mount.r#type == "erofs-disk")
    {
        return Err(GuestError::NotAGuest("mounting a disk"));
    }
    if request.mounts.iter().any(|mount| mount.r#type == "share") {
        return Err(GuestError::NotAGuest("mounting a share"));
    }
    if !request.last_words_path.is_empty() {
        return Err(GuestError::NotAGuest("keeping last words"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn the_host_has_no_disks_to_offer() {
        let kind = Some(v1::rootfs::Kind::Disk(v1::DiskRootfs::default()));
        let rootfs = Some(v1::Rootfs { kind });
        let request = v1::CreateContainerRequest {
            rootfs,
            ..Default::default()
        };
        let error = Arc::new(Disks::default())
            .mount_for(Mode::Host, request)
            .await
            .unwrap_err();
        assert_eq!(error.code(), tonic::Code::Unimplemented);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_disk_that_is_not_there_is_named() {
        let disks = Arc::new(Disks::default());
        let disk = v1::DiskRootfs {
            image_serial: "img-1".into(),
            writable_serial: "w".into(),
        };
        let rootfs = Some(v1::Rootfs {
            kind: Some(v1::rootfs::Kind::Disk(disk)),
        });
        let request = v1::CreateContainerRequest {
            rootfs,
            ..Default::default()
        };
        let error = disks.mount_for(Mode::Guest, request).await.unwrap_err();
        assert_eq!(error.to_string(), "no disk with serial number img-1");
        assert!(disks.users.lock().is_empty());
    }
}
