//! Both ways of mounting, on the kernel we run on.

use std::fs::{self, File};

use erofs_image::{ImageUuid, LayerOptions, Limits, MergeOptions, convert_layer, merge};
use rustix::mount::{UnmountFlags, unmount};

use super::*;

/// A merged image of one layer with the file `name`, and the layer.
fn image(dir: &Path) -> (PathBuf, PathBuf) {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(10_000);
    header.set_mode(0o644);
    tar.append_data(&mut header, "name", [b'x'; 10_000].as_slice())
        .unwrap();
    let tar = tar.into_inner().unwrap();
    let [merged, layer] = ["merged", "layer"].map(|name| dir.join(name));
    let uuid = ImageUuid::from_sha256(&[7; 32]);
    let limits = Limits::default();
    let options = LayerOptions {
        uuid,
        limits: limits.clone(),
    };
    convert_layer(tar.as_slice(), File::create(&layer).unwrap(), &options).unwrap();
    let options = MergeOptions { uuid, limits };
    merge(
        &[File::open(&layer).unwrap()],
        File::create(&merged).unwrap(),
        &options,
    )
    .unwrap();
    (merged, layer)
}

fn loop_devices() -> usize {
    let blocks = fs::read_dir("/sys/block").unwrap();
    blocks
        .filter(|block| {
            block
                .as_ref()
                .unwrap()
                .path()
                .join("loop/backing_file")
                .exists()
        })
        .count()
}

#[test]
fn files_are_mounted_as_they_are_or_through_loop_devices() {
    let dir = tempfile::tempdir().unwrap();
    let (merged, layer) = image(dir.path());
    let target = dir.path().join("target");
    fs::create_dir(&target).unwrap();
    let before = loop_devices();
    for mount in [mount_erofs, mount_loops] {
        mount(&merged, std::slice::from_ref(&layer), &target).unwrap();
        assert_eq!(fs::read(target.join("name")).unwrap(), [b'x'; 10_000]);
        unmount(&target, UnmountFlags::empty()).unwrap();
    }
    assert_eq!(
        loop_devices(),
        before,
        "the kernel frees the devices with the mount"
    );
}
