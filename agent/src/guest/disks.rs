//! Disks of the guest by serial number: images, shared and read-only, and one writable disk per
//! container.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_api::v1;
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::{GuestError, attach, only, write_file};
use crate::container::cgroup::is_name;
use crate::container::mounts::{MountError, new_filesystem};
use crate::mode::Mode;
use crate::sys::mount_attr::MountAttr;

/// Where disks are mounted, each in a directory of its serial number.
const DIRECTORY: &str = "/run/bulkhead/disks";

/// How long a disk that was attached may take to be seen.
const SEEN_WITHIN: Duration = Duration::from_secs(20);

/// How long the last use of a disk may take to end after its container.
const UNUSED_WITHIN: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(5);

/// All disks that are mounted, with the number of their users.
#[derive(Debug, Default)]
pub(crate) struct Disks {
    users: Mutex<HashMap<String, usize>>,
}

/// The disks that one container uses.
#[derive(Debug)]
pub(crate) struct ContainerDisks {
    all: Arc<Disks>,
    serials: Vec<String>,
    writable: Option<PathBuf>,
}

/// What is on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Files of an image, in EROFS. Read-only and shared.
    Image,
    /// What a container writes, in ext4.
    Writable,
}

impl Disks {
    /// Mounts the disks that `request` names and puts paths in their places. On the host there are none.
    pub(crate) fn mount_for(
        self: &Arc<Self>,
        mode: Mode,
        request: &mut v1::CreateContainerRequest,
    ) -> Result<Option<ContainerDisks>, GuestError> {
        if mode == Mode::Host {
            return refuse_disks(request).map(|()| None);
        }
        let mut used = ContainerDisks {
            all: Arc::clone(self),
            serials: Vec::new(),
            writable: None,
        };
        match used.resolve(request) {
            Ok(()) => Ok(Some(used)),
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

impl ContainerDisks {
    fn resolve(&mut self, request: &mut v1::CreateContainerRequest) -> Result<(), GuestError> {
        let rootfs = request
            .rootfs
            .as_mut()
            .and_then(|rootfs| rootfs.kind.as_mut());
        match rootfs {
            Some(kind @ v1::rootfs::Kind::Disk(_)) => {
                let v1::rootfs::Kind::Disk(disk) = &*kind else {
                    unreachable!("matched above")
                };
                let overlay = self.overlay(&disk.clone())?;
                *kind = v1::rootfs::Kind::Overlay(overlay);
            }
            Some(v1::rootfs::Kind::Overlay(_)) => {
                return Err(GuestError::NotAHost("an overlay of directories"));
            }
            None => {}
        }
        for mount in request
            .mounts
            .iter_mut()
            .filter(|mount| mount.r#type == "erofs-disk")
        {
            let place = self.use_disk(&mount.source, Content::Image)?;
            mount.r#type = "bind".to_owned();
            mount.source = place.display().to_string();
        }
        Ok(())
    }

    fn overlay(&mut self, disk: &v1::DiskRootfs) -> Result<v1::OverlayRootfs, GuestError> {
        let lower = self.use_disk(&disk.image_serial, Content::Image)?;
        let writable = self.use_disk(&disk.writable_serial, Content::Writable)?;
        let directory = |name: &str| {
            let path = writable.join(name);
            let made = fs::create_dir_all(&path);
            let path = path.display().to_string();
            match made {
                Ok(()) => Ok(path),
                Err(source) => Err(GuestError::File {
                    doing: "make",
                    path,
                    source,
                }),
            }
        };
        let (upper, work) = (directory("upper")?, directory("work")?);
        self.writable = Some(writable);
        Ok(v1::OverlayRootfs {
            lower: lower.display().to_string(),
            upper,
            work,
        })
    }

    fn use_disk(&mut self, serial: &str, content: Content) -> Result<PathBuf, GuestError> {
        let place = self.all.acquire(serial, content)?;
        self.serials.push(serial.to_owned());
        Ok(place)
    }

    /// Where the container's writable disk is mounted.
    pub(crate) fn writable(&self) -> Option<PathBuf> {
        self.writable.clone()
    }

    /// Gives the disks back, once the container's mounts of them are gone.
    pub(crate) async fn release(mut self) -> Result<(), GuestError> {
        let start = Instant::now();
        while let Some(serial) = self.serials.last() {
            match self.all.release(serial) {
                Ok(()) => drop(self.serials.pop()),
                // The kernel takes namespaces apart in the background.
                Err(Errno::BUSY) if start.elapsed() < UNUSED_WITHIN => {
                    tokio::time::sleep(POLL).await;
                }
                Err(Errno::BUSY) => return Err(GuestError::DiskInUse(serial.clone())),
                Err(source) => {
                    return Err(GuestError::System {
                        doing: "unmount a disk",
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    /// Gives back what was taken before anything could use it.
    fn release_now(&mut self) {
        for serial in self.serials.drain(..) {
            if let Err(error) = self.all.release(&serial) {
                tracing::error!(serial, %error, "a disk is left mounted");
            }
        }
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
    Ok(())
}

fn check_serial(serial: &str) -> Result<(), GuestError> {
    if serial.len() <= 20 && is_name(serial) {
        Ok(())
    } else {
        Err(GuestError::Serial(serial.to_owned()))
    }
}

fn mount(serial: &str, place: &Path, content: Content) -> Result<(), GuestError> {
    let name = find(serial).ok_or_else(|| GuestError::NoDisk(vec![serial.to_owned()]))?;
    let device = format!("/dev/{name}");
    let source = ("source", Some(device.as_str()));
    let error = |source| GuestError::Disk {
        serial: serial.to_owned(),
        source,
    };
    let mount = match content {
        Content::Image => {
            let attr = MountAttr {
                readonly: true,
                ..MountAttr::default()
            };
            new_filesystem("erofs", &[source, ("ro", None)], attr)
        }
        // What is deleted is given back to the host.
        Content::Writable => {
            new_filesystem("ext4", &[source, ("discard", None)], MountAttr::default())
        }
    }
    .map_err(error)?;
    let path = place.display().to_string();
    fs::create_dir_all(place).map_err(|source| GuestError::File {
        doing: "make",
        path: path.clone(),
        source,
    })?;
    attach(&mount, &path).map_err(|source| {
        error(MountError::Attach {
            target: path.clone(),
            source,
        })
    })
}

/// The name of the block device with that serial number.
fn find(serial: &str) -> Option<String> {
    let entries = fs::read_dir("/sys/block").ok()?;
    entries.filter_map(Result::ok).find_map(|entry| {
        let found = fs::read_to_string(entry.path().join("serial")).ok()?;
        let name = entry.file_name().into_string().ok()?;
        let present = Path::new("/dev").join(&name).exists();
        (found.trim() == serial && present).then_some(name)
    })
}

/// Makes disks that were attached to the machine appear, and waits for them.
pub(crate) async fn rescan(mode: Mode, serials: &[String]) -> Result<(), GuestError> {
    only(mode, "finding disks")?;
    serials.iter().try_for_each(|serial| check_serial(serial))?;
    let missing = || -> Vec<String> {
        serials
            .iter()
            .filter(|serial| find(serial).is_none())
            .cloned()
            .collect()
    };
    if missing().is_empty() {
        return Ok(());
    }
    write_file("rescan", "/sys/bus/pci/rescan", "1")?;
    let start = Instant::now();
    loop {
        let missing = missing();
        if missing.is_empty() {
            return Ok(());
        }
        if start.elapsed() > SEEN_WITHIN {
            return Err(GuestError::NoDisk(missing));
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_leads_nowhere() {
        for bad in ["", "..", "a/b", "123456789012345678901"] {
            assert!(check_serial(bad).is_err(), "{bad}");
        }
        assert!(check_serial("img-0123456789abcdef").is_ok());
    }

    #[test]
    fn the_host_has_no_disks_to_offer() {
        let kind = Some(v1::rootfs::Kind::Disk(v1::DiskRootfs::default()));
        let rootfs = Some(v1::Rootfs { kind });
        let mut request = v1::CreateContainerRequest {
            rootfs,
            ..Default::default()
        };
        let error = Arc::new(Disks::default())
            .mount_for(Mode::Host, &mut request)
            .unwrap_err();
        assert_eq!(error.code(), tonic::Code::Unimplemented);
    }

    #[test]
    fn a_disk_that_is_not_there_is_named() {
        let disks = Arc::new(Disks::default());
        let disk = v1::DiskRootfs {
            image_serial: "img-1".into(),
            writable_serial: "w".into(),
        };
        let rootfs = Some(v1::Rootfs {
            kind: Some(v1::rootfs::Kind::Disk(disk)),
        });
        let mut request = v1::CreateContainerRequest {
            rootfs,
            ..Default::default()
        };
        let error = disks.mount_for(Mode::Guest, &mut request).unwrap_err();
        assert_eq!(error.to_string(), "no disk with serial number img-1");
        assert!(disks.users.lock().is_empty());
    }
}
