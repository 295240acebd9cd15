//! What a pull brings, and what the store then says.

use hyper::Method;
use image_service::{Digest, ErrorKind};
use serde_json::json;

use crate::image::{
    Compression, INDEX, Layer, MANIFEST, TestImage, architecture, descriptor, push_document,
};
use crate::node::Node;
use crate::registry::MiniRegistry;

#[tokio::test]
async fn an_image_is_found_by_all_its_names() {
    let (node, registry) = (Node::new(), MiniRegistry::start().await);
    let image = TestImage::small("a");
    image.push(&registry, "team/app", "1");
    let images = node.open().await;
    let name = format!("{}/team/app:1", registry.host);
    let id = images.pull(&name, None).await.unwrap();
    assert_eq!(id.to_string(), image.id());

    let found = images.find(&name).unwrap();
    let digest = format!("{}/team/app@{}", registry.host, image.digest());
    assert_eq!(found.repo_tags.iter().collect::<Vec<_>>(), [&name]);
    assert_eq!(found.repo_digests.iter().collect::<Vec<_>>(), [&digest]);
    assert!(found.size_bytes > 0);
    assert_eq!(found.config.cmd, ["sh"]);
    for query in [
        &digest,
        &image.id(),
        &id.0.hex(),
        &id.0.hex()[..12].to_owned(),
    ] {
        assert_eq!(images.find(query).as_ref(), Some(&found), "{query}");
    }
    assert_eq!(images.list(), [found]);
    assert!(images.find("other").is_none());
    assert!(images.find(&id.0.hex()[..3]).is_none());
    assert_eq!(
        images.raw_config(&id).await.unwrap().as_bytes(),
        image.config
    );
}

#[tokio::test]
async fn a_pull_by_digest_leaves_no_tag() {
    let (node, registry) = (Node::new(), MiniRegistry::start().await);
    let image = TestImage::small("a");
    image.push(&registry, "app", "1");
    let images = node.open().await;
    let name = format!("{}/app@{}", registry.host, image.digest());
    let id = images.pull(&name, None).await.unwrap();
    let found = images.find(&id.to_string()).unwrap();
    assert!(found.repo_tags.is_empty());
    assert_eq!(found.repo_digests.iter().collect::<Vec<_>>(), [&name]);
    // A tag beside the digest is no name.
    images.pull(&name.replace('@', ":1@"), None).await.unwrap();
    let listed = images.list();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id, found.id);
    assert!(listed[0].repo_tags.is_empty());
    assert_eq!(listed[0].repo_digests, found.repo_digests);
}

#[tokio::test]
async fn what_is_here_is_not_sent_again() {
    let (node, registry) = (Node::new(), MiniRegistry::start().await);
    TestImage::small("a").push(&registry, "app", "latest");
    let images = node.open().await;
    let name = format!("{}/app", registry.host);
    images.pull(&name, None).await.unwrap();
    registry.forget_seen();
    images.pull(&name, None).await.unwrap();
    let seen = registry.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].method, Method::HEAD);
}

#[tokio::test]
async fn an_index_leads_to_the_image_for_this_node() {
    let (node, registry) = (Node::new(), MiniRegistry::start().await);
    let [ours, theirs] = ["ours", "theirs"].map(TestImage::small);
    ours.push(&registry, "app", "ours");
    let entry = |image: &TestImage, architecture: &str| {
        let mut entry = descriptor(MANIFEST, &image.manifest);
        entry["platform"] = json!({ "os": "linux", "architecture": architecture });
        entry
    };
    let manifests = json!([entry(&theirs, "other"), entry(&ours, architecture())]);
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    let index = index.to_string().into_bytes();
    push_document(&registry, "app", "multi", INDEX, &index);
    let images = node.open().await;
    let id = images
        .pull(&format!("{}/app:multi", registry.host), None)
        .await
        .unwrap();
    assert_eq!(id.to_string(), ours.id());
    let digest = format!("{}/app@{}", registry.host, Digest::of(&index));
    assert!(images.find(&digest).is_some());
}

#[tokio::test]
async fn all_compressions_are_read_whatever_they_are_labelled() {
    let (node, registry) = (Node::new(), MiniRegistry::start().await);
    let mut mislabelled = Layer::new(&[("d", b"plain")], Compression::None);
    mislabelled.media_type.push_str("+gzip");
    let layers = vec![
        Layer::new(&[("a", b"gzip"), ("x", b"lower")], Compression::Gzip),
        Layer::new(&[("b", b"zstd"), ("x", b"upper")], Compression::Zstd),
        Layer::new(&[("c", b"plain")], Compression::None),
        mislabelled,
    ];
    TestImage::new(layers).push(&registry, "app", "latest");
    let images = node.open().await;
    let id = images
        .pull(&format!("{}/app", registry.host), None)
        .await
        .unwrap();
    for (path, content) in [
        ("/a", "gzip"),
        ("/b", "zstd"),
        ("/c", "plain"),
        ("/x", "upper"),
    ] {
        let read = images.read_file(&id, path, 100).await.unwrap();
        assert_eq!(read.as_deref(), Some(content.as_bytes()), "{path}");
    }
    assert_eq!(images.read_file(&id, "/none", 100).await.unwrap(), None);
    assert!(images.read_file(&id, "/a", 2).await.is_err());
}

#[tokio::test]
async fn layers_are_shared_and_fetched_once() {
    let (node, registry) = (Node::new(), MiniRegistry::start().await);
    let base = Layer::new(
        &[("base", &crate::image::noise(100_000))],
        Compression::Gzip,
    );
    let top = |name: &str| Layer::new(&[(name, b"top")], Compression::Gzip);
    // The same layer twice in one image is legal, and common with empty ones.
    let one = TestImage::new(vec![base.clone(), top("one"), top("one")]);
    let two = TestImage::new(vec![base.clone(), top("two")]);
    one.push(&registry, "one", "latest");
    two.push(&registry, "two", "latest");
    let images = node.open().await;
    let pull = |name: &str| {
        let (images, name) = (images.clone(), format!("{}/{name}", registry.host));
        tokio::spawn(async move { images.pull(&name, None).await.unwrap() })
    };
    let pulls = [pull("one"), pull("one"), pull("two"), pull("one")];
    for pull in pulls {
        pull.await.unwrap();
    }
    for layer in [&base, &top("one"), &top("two")] {
        let digest = layer.digest().to_string();
        assert_eq!(registry.count(|seen| seen.path.ends_with(&digest)), 1);
    }
    let sizes: u64 = images.list().iter().map(|image| image.size_bytes).sum();
    assert!(images.usage().used_bytes > 100_000);
    assert!(sizes > 200_000, "each image counts what it shares");
}

#[tokio::test]
async fn a_tag_that_moves_leaves_the_old_image_without_it() {
    let (node, registry) = (Node::new(), MiniRegistry::start().await);
    let [old, new] = ["old", "new"].map(TestImage::small);
    old.push(&registry, "app", "latest");
    let images = node.open().await;
    let name = format!("{}/app:latest", registry.host);
    images.pull(&name, None).await.unwrap();
    new.push(&registry, "app", "latest");
    images.pull(&name, None).await.unwrap();
    assert_eq!(images.find(&name).unwrap().id.to_string(), new.id());
    let old = images.find(&old.id()).unwrap();
    assert!(old.repo_tags.is_empty());
    assert_eq!(old.repo_digests.len(), 1);
}

#[tokio::test]
async fn removing_by_one_name_removes_all_and_frees_the_files() {
    let (node, registry) = (Node::new(), MiniRegistry::start().await);
    let image = TestImage::small("a");
    let images = node.open().await;
    let names: Vec<String> = ["a:1", "a:2", "b:1"]
        .iter()
        .map(|name| format!("{}/{name}", registry.host))
        .collect();
    for name in &names {
        let (repository, tag) = name.split('/').nth(1).unwrap().split_once(':').unwrap();
        image.push(&registry, repository, tag);
        images.pull(name, None).await.unwrap();
    }
    assert_eq!(images.find(&image.id()).unwrap().repo_tags.len(), 3);
    let before = images.usage();
    let removals: Vec<_> = (0..5)
        .map(|_| {
            let (images, name, id) = (images.clone(), names[1].clone(), image.id());
            tokio::spawn(async move {
                images.remove(&name).await.unwrap();
                assert!(images.find(&id).is_none());
            })
        })
        .collect();
    for removal in removals {
        removal.await.unwrap();
    }
    assert!(images.list().is_empty());
    assert_eq!(node.files(), Vec::<std::path::PathBuf>::new());
    assert!(images.usage().inodes_used < before.inodes_used);
    images.remove("sha256:0000").await.unwrap();
}

#[tokio::test]
async fn a_held_image_keeps_its_files_when_it_is_removed() {
    let (node, registry) = (Node::new(), MiniRegistry::start().await);
    let image = TestImage::small("a");
    image.push(&registry, "app", "latest");
    let images = node.open().await;
    let id = images
        .pull(&format!("{}/app", registry.host), None)
        .await
        .unwrap();
    let disk = images.disk(&id, "container").await.unwrap();
    images.hold(&id, "other").await.unwrap();
    images.remove(&id.to_string()).await.unwrap();
    assert!(images.list().is_empty());
    // A new holder comes too late, an old one may come again.
    let refused = images.hold(&id, "late").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert_eq!(images.disk(&id, "container").await.unwrap(), disk);
    images.release(&id, "container").await.unwrap();
    drop(images);

    // Holds outlive the server; who is gone meanwhile is told by `retain`.
    let images = node.open().await;
    assert!(disk.extents.iter().all(|extent| extent.path.exists()));
    images.retain(&Default::default()).await.unwrap();
    assert_eq!(node.files(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn an_image_that_is_pulled_again_while_its_removal_waits_is_back() {
    let (node, registry) = (Node::new(), MiniRegistry::start().await);
    TestImage::small("a").push(&registry, "app", "latest");
    let images = node.open().await;
    let name = format!("{}/app", registry.host);
    let id = images.pull(&name, None).await.unwrap();
    images.hold(&id, "c").await.unwrap();
    images.remove(&name).await.unwrap();
    registry.forget_seen();
    assert_eq!(images.pull(&name, None).await.unwrap(), id);
    assert_eq!(
        registry.count(|seen| seen.is_blob()),
        1,
        "only the configuration"
    );
    images.release(&id, "c").await.unwrap();
    assert!(images.find(&name).is_some());
}

#[tokio::test]
async fn a_disk_is_whole_blocks_of_files_that_exist() {
    let (node, registry) = (Node::new(), MiniRegistry::start().await);
    let layers = ["a", "b"].map(|name| Layer::new(&[(name, b"content")], Compression::Gzip));
    TestImage::new(layers.to_vec()).push(&registry, "app", "latest");
    let images = node.open().await;
    let id = images
        .pull(&format!("{}/app", registry.host), None)
        .await
        .unwrap();
    let disk = images.disk(&id, "c").await.unwrap();
    assert_eq!(disk.extents.len(), 4, "{disk:?}");
    for extent in &disk.extents {
        let len = std::fs::metadata(&extent.path).unwrap().len();
        assert!(extent.offset + extent.len <= len && extent.len > 0);
        assert_eq!((extent.offset % 4096, extent.len % 4096), (0, 0));
    }
}

#[tokio::test]
async fn what_is_no_name_is_refused_without_asking_anybody() {
    let node = Node::new();
    let images = node.open().await;
    for name in ["", "App", "r.example/../x", "app@sha512:00"] {
        let error = images.pull(name, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{name:?}");
    }
}

#[tokio::test]
async fn pinned_images_say_so() {
    let (mut node, registry) = (Node::new(), MiniRegistry::start().await);
    node.config.pinned = vec!["*/pause:*".to_owned()];
    TestImage::small("a").push(&registry, "pause", "3.9");
    TestImage::small("b").push(&registry, "app", "1");
    let images = node.open().await;
    for (name, pinned) in [("pause:3.9", true), ("app:1", false)] {
        let name = format!("{}/{name}", registry.host);
        images.pull(&name, None).await.unwrap();
        assert_eq!(images.find(&name).unwrap().pinned, pinned);
    }
}

#[tokio::test]
async fn two_servers_never_share_a_store() {
    let node = Node::new();
    let _images = node.open().await;
    let error = image_service::Images::open(node.config.clone())
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::InUse);
}
