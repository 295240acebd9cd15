//! Mounting images. Needs root and a kernel with EROFS; the node VM has both.

#![expect(clippy::unwrap_used, reason = "a test may panic anywhere")]

#[path = "pull/image.rs"]
#[expect(dead_code, reason = "most of it is for the other tests")]
mod image;
#[path = "pull/node.rs"]
#[expect(dead_code, reason = "most of it is for the other tests")]
mod node;
#[path = "pull/registry.rs"]
#[expect(dead_code, reason = "most of it is for the other tests")]
mod registry;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use image_service::{ImageId, Images};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::image::{Compression, Layer, TestImage};
use crate::node::Node;
use crate::registry::MiniRegistry;

/// A node with an image of two layers, of which the upper one hides a file of the lower one.
async fn node_with_image() -> (Node, Images, ImageId) {
    let (node, registry) = (Node::new(), MiniRegistry::start().await);
    let layers = vec![
        Layer::new(&[("etc/name", b"lower"), ("gone", b"x")], Compression::Gzip),
        Layer::new(
            &[("etc/name", b"upper"), (".wh.gone", b"")],
            Compression::Zstd,
        ),
    ];
    TestImage::new(layers).push(&registry, "app", "latest");
    let images = node.open().await;
    let id = images
        .pull(&format!("{}/app", registry.host), None)
        .await
        .unwrap();
    (node, images, id)
}

/// How often something is mounted below the node's run directory.
fn mounts(node: &Node) -> usize {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let below = node.config.run_dir.to_str().unwrap().to_owned();
    text.lines().filter(|line| line.contains(&below)).count()
}

fn name(root: &Path) -> String {
    fs::read_to_string(root.join("etc/name")).unwrap()
}

#[tokio::test]
async fn an_image_is_mounted_once_for_all_and_unmounted_with_the_last() {
    let (node, images, id) = node_with_image().await;
    let root = images.mount(&id, "one").await.unwrap();
    assert_eq!(images.mount(&id, "two").await.unwrap(), root);
    assert_eq!(mounts(&node), 1);
    assert_eq!(name(&root), "upper");
    assert!(!root.join("gone").exists());
    assert!(fs::write(root.join("new"), "x").is_err());
    images.release(&id, "one").await.unwrap();
    assert_eq!(name(&root), "upper");
    images.release(&id, "two").await.unwrap();
    assert_eq!(mounts(&node), 0);
    assert!(!root.exists());
}

#[tokio::test]
async fn nobody_but_root_reaches_the_files_of_images() {
    let (node, images, id) = node_with_image().await;
    images.mount(&id, "c").await.unwrap();
    for dir in [
        node.config.root_dir.clone(),
        node.config.run_dir.join("mounts"),
    ] {
        assert_eq!(
            fs::metadata(dir).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }
    images.release(&id, "c").await.unwrap();
}

#[tokio::test]
async fn many_holders_at_once_get_one_mount() {
    let (node, images, id) = node_with_image().await;
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let images = images.clone();
            tokio::spawn(async move {
                let holder = n.to_string();
                for _ in 0..10 {
                    let root = images.mount(&id, &holder).await.unwrap();
                    assert_eq!(name(&root), "upper");
                    images.release(&id, &holder).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(mounts(&node), 0);
}

#[tokio::test]
async fn an_overlay_lies_on_it() {
    let (node, images, id) = node_with_image().await;
    let root = images.mount(&id, "c").await.unwrap();
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| {
        let dir = node.config.root_dir.join("overlay").join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    });
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        root.display(),
        upper.display(),
        work.display()
    );
    let options = std::ffi::CString::new(options).unwrap();
    mount(
        "overlay",
        &merged,
        "overlay",
        MountFlags::empty(),
        options.as_c_str(),
    )
    .unwrap();
    fs::write(merged.join("etc/name"), "written").unwrap();
    // The overlay keeps what it lies on, even if nobody else holds it any more.
    images.release(&id, "c").await.unwrap();
    assert_eq!(name(&merged), "written");
    assert_eq!(name(&upper), "written");
    unmount(&merged, UnmountFlags::empty()).unwrap();
    assert_eq!(mounts(&node), 0);
}

#[tokio::test]
async fn mounts_outlive_the_server_for_those_who_are_still_there() {
    let (node, images, id) = node_with_image().await;
    let root = images.mount(&id, "one").await.unwrap();
    images.hold(&id, "two").await.unwrap();
    drop(images);

    let images = node.open().await;
    assert_eq!(name(&root), "upper");
    images
        .retain(&HashSet::from([(id, "one".to_owned())]))
        .await
        .unwrap();
    assert_eq!(name(&root), "upper");
    assert_eq!(images.mount(&id, "one").await.unwrap(), root);
    assert_eq!(mounts(&node), 1);
    images.retain(&HashSet::new()).await.unwrap();
    assert_eq!(mounts(&node), 0);
}

#[tokio::test]
async fn a_removed_image_stays_readable_until_it_is_released() {
    let (node, images, id) = node_with_image().await;
    let root = images.mount(&id, "c").await.unwrap();
    images.remove(&id.to_string()).await.unwrap();
    assert!(images.find(&id.to_string()).is_none());
    assert_eq!(name(&root), "upper");
    images.release(&id, "c").await.unwrap();
    assert_eq!(mounts(&node), 0);
    assert!(node.files().is_empty());
}

#[tokio::test]
async fn what_somebody_unmounted_by_hand_is_mounted_again() {
    let (node, images, id) = node_with_image().await;
    let root = images.mount(&id, "one").await.unwrap();
    unmount(&root, UnmountFlags::empty()).unwrap();
    assert_eq!(images.mount(&id, "two").await.unwrap(), root);
    assert_eq!(name(&root), "upper");
    images.retain(&HashSet::new()).await.unwrap();
    assert_eq!(mounts(&node), 0);
}

#[tokio::test]
async fn a_mount_that_fails_holds_nothing() {
    let (node, images, id) = node_with_image().await;
    let merged = fs::read_dir(node.config.root_dir.join("merged")).unwrap();
    let blobs = merged.map(|entry| entry.unwrap().path());
    let blob = blobs
        .into_iter()
        .find(|path| path.extension().unwrap() == "erofs")
        .unwrap();
    let len = fs::metadata(&blob).unwrap().len();
    fs::write(&blob, vec![0; usize::try_from(len).unwrap()]).unwrap();
    let error = images.mount(&id, "c").await.unwrap_err();
    assert!(
        node::chain(&error).contains("create the file system"),
        "{}",
        node::chain(&error)
    );
    assert_eq!(mounts(&node), 0);
    images.remove(&id.to_string()).await.unwrap();
    assert!(node.files().is_empty(), "a hold was left");
}
