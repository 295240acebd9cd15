//! A container's files in the agent's words: disks, shares and copies by the names that the guest has for
//! them.

use agent_api::v1;

use super::container::Record;
use super::shares::{Access, Share, Wanted};
use super::volumes::{ImageMount, Volumes};
use crate::agent::Files;
use crate::{Error, Kind, Mount, Result};

/// The container's files. `shares` are the shared volumes as the guest has them, `listed` are its
/// mounts as they were asked for.
pub(super) fn files(
    volumes: Volumes,
    record: &Record,
    shares: &[Share],
    listed: &[Mount],
) -> Result<Files> {
    let incomplete = || {
        Error::new(
            Kind::Internal,
            "name the disks of a container: one is missing",
        )
    };
    let (root, further) = record.images.split_first().ok_or_else(incomplete)?;
    let writable = record.writable.as_ref().ok_or_else(incomplete)?;
    let disk = v1::DiskRootfs {
        image_serial: root.disk.serial.clone(),
        writable_serial: writable.serial.clone(),
    };
    let images = volumes.images.iter().zip(further);
    let mut mounts: Vec<_> = images
        .map(|(mount, image)| image_mount(mount, &image.disk.serial))
        .collect();
    mounts.extend(volumes.mounts);
    let shared = volumes.shared.iter().zip(shares);
    mounts.extend(shared.map(|(wanted, share)| share_mount(wanted, share)));
    in_order(&mut mounts, listed);
    Ok(Files {
        rootfs: v1::rootfs::Kind::Disk(disk),
        mounts,
        files: volumes.files,
        readonly_paths: volumes.readonly_paths,
        log_path: String::new(),
        last_words_path: volumes
            .last_words
            .map(|words| words.destination)
            .unwrap_or_default(),
    })
}

/// One may lie in another, so they are mounted as they were listed, from whatever they come.
fn in_order(mounts: &mut [v1::Mount], listed: &[Mount]) {
    mounts.sort_by_key(|mount| {
        listed
            .iter()
            .position(|listed| listed.destination == mount.destination)
    });
}

fn share_mount(wanted: &Wanted, share: &Share) -> v1::Mount {
    v1::Mount {
        destination: wanted.destination.clone(),
        source: share.name.clone(),
        r#type: "share".to_owned(),
        readonly: share.readonly,
        recursive_readonly: wanted.access == Access::ReadOnlyTree,
        ..v1::Mount::default()
    }
}

fn image_mount(mount: &ImageMount, serial: &str) -> v1::Mount {
    v1::Mount {
        destination: mount.destination.clone(),
        source: serial.to_owned(),
        r#type: "erofs-disk".to_owned(),
        readonly: true,
        sub_path: mount.sub_path.clone(),
        ..v1::Mount::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{MountSource, Propagation};

    #[test]
    fn what_lies_in_a_volume_is_mounted_after_it() {
        let listed = ["/data", "/data/secret", "/data/secret/deep"].map(|destination| Mount {
            destination: destination.into(),
            source: MountSource::Host("/".into()),
            readonly: false,
            recursive_readonly: false,
            propagation: Propagation::Private,
        });
        let mut mounts =
            ["/data/secret/deep", "/data/secret", "/data"].map(|destination| v1::Mount {
                destination: destination.into(),
                ..v1::Mount::default()
            });
        in_order(&mut mounts, &listed);
        let order = mounts.map(|mount| mount.destination);
        assert_eq!(order, ["/data", "/data/secret", "/data/secret/deep"]);
    }
}
