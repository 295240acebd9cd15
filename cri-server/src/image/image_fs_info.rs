//! `ImageFsInfo`: what images and containers use of their file systems. The kubelet's first call, and
//! what its garbage collection goes by.

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
        container_filesystems: vec![usage(&directory, bytes, inodes)],
    })
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
