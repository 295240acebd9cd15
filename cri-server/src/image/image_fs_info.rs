//! `ImageFsInfo`: what images and containers use of their file systems. The kubelet's first call, and
//! what its garbage collection goes by.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use cri_api::v1::{
    FilesystemIdentifier, FilesystemUsage, ImageFsInfoRequest, ImageFsInfoResponse, UInt64Value,
};

use crate::CriServer;
use crate::clock::now_ns;
use crate::error::Result;

pub(super) async fn image_fs_info(
    server: Arc<CriServer>,
    _: ImageFsInfoRequest,
) -> Result<ImageFsInfoResponse> {
    let images = server.images.usage();
    let directory = server.config.state_dir.join("containers");
    let (bytes, inodes) = server.written.of(&directory).await?;
    Ok(ImageFsInfoResponse {
        image_filesystems: vec![usage(
            &images.mountpoint,
            images.used_bytes,
            images.inodes_used,
        )],
        container_filesystems: vec![usage(
            shared_or_own(&images.mountpoint, &directory),
            bytes,
            inodes,
        )],
    })
}

/// What stands for the file system of `own`. The kubelet compares two names, not two file systems:
/// if they differ, it takes images and containers to be on disks of their own and evicts by both.
fn shared_or_own<'a>(shared: &'a Path, own: &'a Path) -> &'a Path {
    let device = |path: &Path| path.metadata().ok().map(|found| found.dev());
    if device(shared) == device(own) {
        shared
    } else {
        own
    }
}

fn usage(mountpoint: &Path, bytes: u64, inodes: u64) -> FilesystemUsage {
    FilesystemUsage {
        timestamp: now_ns(),
        fs_id: Some(FilesystemIdentifier {
            mountpoint: mountpoint.display().to_string(),
        }),
        used_bytes: Some(UInt64Value { value: bytes }),
        inodes_used: Some(UInt64Value { value: inodes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shares_a_file_system_has_one_name() {
        let dir = tempfile::tempdir().unwrap();
        let [images, containers] = ["images", "containers"].map(|name| dir.path().join(name));
        std::fs::create_dir(&images).unwrap();
        std::fs::create_dir(&containers).unwrap();
        assert_eq!(shared_or_own(&images, &containers), images);
        let elsewhere = Path::new("/proc");
        assert_eq!(shared_or_own(&images, elsewhere), elsewhere);
    }
}
