//! The image calls.

use cri_api::v1::*;
use tonic::Code;

use crate::node::{Node, image};

async fn find(node: &mut Node, name: &str) -> Option<Image> {
    let request = ImageStatusRequest {
        image: Some(image(name)),
        verbose: true,
    };
    node.images
        .image_status(request)
        .await
        .unwrap()
        .into_inner()
        .image
}

#[tokio::test]
async fn every_way_to_name_an_image_has_the_same_answer() {
    let mut node = Node::start().await;
    let name = node.image.clone();
    let by_name = find(&mut node, &name).await.unwrap();
    assert_eq!(by_name.repo_tags, [name]);
    assert_eq!(by_name.uid.unwrap().value, 1000);
    assert!(by_name.size > 0 && by_name.username.is_empty());
    for other in [by_name.id.clone(), by_name.repo_digests[0].clone()] {
        assert_eq!(
            find(&mut node, &other).await.as_ref(),
            Some(&by_name),
            "{other}"
        );
    }
    assert_eq!(node.pull().await.unwrap(), by_name.id);
}

#[tokio::test]
async fn a_missing_image_is_no_error() {
    let mut node = Node::start().await;
    assert_eq!(find(&mut node, "nobody/has:this").await, None);
    let request = RemoveImageRequest {
        image: Some(image("nobody/has:this")),
    };
    node.images.remove_image(request).await.unwrap();
}

#[tokio::test]
async fn a_removed_image_is_neither_found_nor_listed() {
    let mut node = Node::start().await;
    let name = node.image.clone();
    let request = RemoveImageRequest {
        image: Some(image(&name)),
    };
    node.images.remove_image(request).await.unwrap();
    assert_eq!(find(&mut node, &name).await, None);
    let list = node
        .images
        .list_images(ListImagesRequest::default())
        .await
        .unwrap();
    assert!(list.into_inner().images.is_empty());
}

#[tokio::test]
async fn a_container_keeps_the_files_of_a_removed_image() {
    let mut node = Node::start().await;
    let (_, id) = node.running().await;
    let name = node.image.clone();
    let request = RemoveImageRequest {
        image: Some(image(&name)),
    };
    node.images.remove_image(request).await.unwrap();
    let files = match node.world.last_container().rootfs.image {
        sandbox::spec::ImageFiles::Extents { extents, .. } => extents,
        other => panic!("{other:?}"),
    };
    assert!(files.iter().all(|piece| piece.path.exists()));
    node.remove_container(&id).await.unwrap();
    assert!(files.iter().all(|piece| !piece.path.exists()));
}

#[tokio::test]
async fn the_file_systems_are_told() {
    let mut node = Node::start().await;
    let info = node
        .images
        .image_fs_info(ImageFsInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    let images = &info.image_filesystems[0];
    assert!(images.used_bytes.unwrap().value > 0);
    for usage in info
        .image_filesystems
        .iter()
        .chain(&info.container_filesystems)
    {
        let mountpoint = &usage.fs_id.as_ref().unwrap().mountpoint;
        assert!(std::path::Path::new(mountpoint).is_dir(), "{mountpoint}");
    }
    // By different names the kubelet would take them for different disks.
    assert_eq!(images.fs_id, info.container_filesystems[0].fs_id);
}

#[tokio::test]
async fn a_registry_that_is_down_is_told_as_the_kubelet_expects() {
    let mut node = Node::start().await;
    let request = PullImageRequest {
        image: Some(image("127.0.0.1:1/a:1")),
        ..Default::default()
    };
    let error = node.images.pull_image(request).await.unwrap_err();
    assert_eq!(error.code(), Code::Unknown);
    assert!(
        error.message().starts_with("RegistryUnavailable"),
        "{}",
        error.message()
    );
}

#[tokio::test]
async fn an_image_that_the_registry_does_not_have_is_not_found() {
    let mut node = Node::start().await;
    let wrong = node.image.replace("web", "nothing");
    let request = PullImageRequest {
        image: Some(image(&wrong)),
        ..Default::default()
    };
    let error = node.images.pull_image(request).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound, "{error:?}");
}
