//! Block devices by serial number.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::POLL;
use crate::container::cgroup::is_name;
use crate::container::mounts::{MountError, new_filesystem};
use crate::guest::{GuestError, attach, only, write_file};
use crate::mode::Mode;
use crate::sys::mount_attr::MountAttr;

/// How long a disk that was attached may take to be seen.
const SEEN_WITHIN: Duration = Duration::from_secs(20);

/// What is on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Files of an image, in EROFS. Read-only and shared.
    Image,
    /// What a container writes, in ext4.
    Writable,
}

/// Serial numbers are names of directories too.
pub(super) fn check_serial(serial: &str) -> Result<(), GuestError> {
    if serial.len() <= 20 && is_name(serial) {
        Ok(())
    } else {
        Err(GuestError::Serial(serial.to_owned()))
    }
}

/// Mounts the disk with that serial number at `place`.
pub(super) fn mount(serial: &str, place: &Path, content: Content) -> Result<(), GuestError> {
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
pub(super) fn find(serial: &str) -> Option<String> {
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
}
