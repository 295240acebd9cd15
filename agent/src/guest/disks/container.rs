//! The disks of one container.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_api::v1;
use rustix::io::Errno;

use super::device::Content;
use super::{Disks, POLL};
use crate::guest::{GuestError, shares};

/// Name of the file for a container's last words, on its writable disk.
const LAST_WORDS: &str = "last-words";

/// How long the last use of a disk may take to end after its container.
const UNUSED_WITHIN: Duration = Duration::from_secs(10);

/// The disks that one container uses.
#[derive(Debug)]
pub(crate) struct ContainerDisks {
    pub(super) all: Arc<Disks>,
    pub(super) serials: Vec<String>,
    pub(super) writable: Option<PathBuf>,
    pub(super) last_words: Option<PathBuf>,
}

impl ContainerDisks {
    pub(super) fn resolve(
        &mut self,
        request: &mut v1::CreateContainerRequest,
    ) -> Result<(), GuestError> {
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
        for mount in request
            .mounts
            .iter_mut()
            .filter(|mount| mount.r#type == "share")
        {
            let place = shares::find(&mount.source)?;
            mount.r#type = "bind".to_owned();
            mount.source = place.display().to_string();
        }
        self.make_last_words(request)
    }

    /// Puts a file beside the container's own files, on the same disk, and in sight of it.
    fn make_last_words(
        &mut self,
        request: &mut v1::CreateContainerRequest,
    ) -> Result<(), GuestError> {
        let (false, Some(writable)) = (request.last_words_path.is_empty(), &self.writable) else {
            return Ok(());
        };
        let file = writable.join(LAST_WORDS);
        let source = file.display().to_string();
        // Whoever the container runs as.
        let made = fs::write(&file, "")
            .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o666)));
        made.map_err(|error| GuestError::File {
            doing: "make",
            path: source.clone(),
            source: error,
        })?;
        request.mounts.push(v1::Mount {
            destination: request.last_words_path.clone(),
            source,
            r#type: "bind".to_owned(),
            nosuid: true,
            nodev: true,
            noexec: true,
            ..v1::Mount::default()
        });
        self.last_words = Some(file);
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

    /// Where the container leaves its last words, if it was given a file for them.
    pub(crate) fn last_words(&self) -> Option<PathBuf> {
        self.last_words.clone()
    }

    /// Gives the disks back, once the container's mounts of them are gone. After a failure what is left
    /// can be tried again.
    pub(crate) async fn release(&mut self) -> Result<(), GuestError> {
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
    pub(super) fn release_now(&mut self) {
        for serial in self.serials.drain(..) {
            if let Err(error) = self.all.release(&serial) {
                tracing::error!(serial, %error, "a disk is left mounted");
            }
        }
    }
}
