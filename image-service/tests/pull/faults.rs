//! Networks that break and registries that lie.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::Method;
use image_service::{Digest, ErrorKind, Images};
use serde_json::json;

use crate::image::{Compression, Layer, MANIFEST, TestImage, descriptor, push_document};
use crate::node::{Node, chain, serving};
use crate::registry::{MiniRegistry, Reply, Seen};

/// Changes how the only layer of `image` is answered; the argument says how often it was asked for.
fn on_layer(
    registry: &MiniRegistry,
    image: &TestImage,
    change: impl Fn(usize, &Seen, Reply) -> Reply + Send + Sync + 'static,
) {
    let (usual, asked) = (registry.clone(), AtomicUsize::new(0));
    let digest = image.layers[0].digest().to_string();
    registry.rule(move |seen| {
        let is_layer = seen.path.ends_with(&digest);
        let times = || asked.fetch_add(1, Ordering::SeqCst);
        is_layer.then(|| change(times(), seen, usual.usual(seen)))
    });
}

/// The pull fails like this, and leaves nothing behind.
async fn check_refused(node: &Node, name: &str, kind: ErrorKind, says: &str) {
    let images = node.open().await;
    let error = images.pull(name, None).await.unwrap_err();
    let text = chain(&error);
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.contains(says), "{text:?} lacks {says:?}");
    assert!(images.list().is_empty());
    assert_eq!(node.ingest(), 0);
}

#[tokio::test]
async fn a_download_that_breaks_goes_on_where_it_broke() {
    let image = TestImage::large(300_000);
    let (node, registry, name) = serving(&image).await;
    on_layer(&registry, &image, |times, _, reply| match times {
        0 | 1 => Reply {
            cut_at: Some(100_000),
            ..reply
        },
        _ => reply,
    });
    let images = node.open().await;
    let id = images.pull(&name, None).await.unwrap();
    assert!(
        images
            .read_file(&id, "/big", 1 << 20)
            .await
            .unwrap()
            .is_some()
    );
    let ranges: Vec<_> = registry
        .seen()
        .into_iter()
        .filter_map(|seen| seen.range)
        .collect();
    assert_eq!(ranges.len(), 2);
    let from = |range: &str| range[6..].trim_end_matches('-').parse::<usize>().unwrap();
    assert!(
        from(&ranges[0]) > 0 && from(&ranges[1]) > from(&ranges[0]),
        "{ranges:?}"
    );
}

#[tokio::test]
async fn a_registry_without_ranges_sends_it_all_again() {
    let image = TestImage::large(300_000);
    let (node, registry, name) = serving(&image).await;
    let blob = image.layers[0].blob.clone();
    on_layer(&registry, &image, move |times, _, _| {
        let whole = Reply::ok(blob.clone());
        if times == 0 {
            Reply {
                cut_at: Some(100_000),
                ..whole
            }
        } else {
            whole
        }
    });
    node.open().await.pull(&name, None).await.unwrap();
}

#[tokio::test]
async fn another_range_than_asked_for_is_not_taken() {
    let image = TestImage::large(300_000);
    let (node, registry, name) = serving(&image).await;
    on_layer(&registry, &image, |times, _, mut reply| {
        if times == 0 {
            return Reply {
                cut_at: Some(100_000),
                ..reply
            };
        }
        reply.headers.retain(|(name, _)| name != "content-range");
        reply.header("content-range", "bytes 5-300000/300001")
    });
    check_refused(&node, &name, ErrorKind::Unavailable, "another range").await;
}

#[tokio::test]
async fn a_registry_that_always_ends_early_is_given_up_on() {
    let image = TestImage::large(300_000);
    let (mut node, registry, name) = serving(&image).await;
    node.config.retries = 1;
    on_layer(&registry, &image, |times, _, reply| {
        let cut_at = Some(if times == 0 { 1000 } else { 0 });
        Reply { cut_at, ..reply }
    });
    check_refused(&node, &name, ErrorKind::Unavailable, "fetch layer").await;
}

#[tokio::test]
async fn a_registry_that_goes_silent_is_given_up_on() {
    let image = TestImage::large(300_000);
    let (mut node, registry, name) = serving(&image).await;
    node.config.stall_timeout_seconds = 1;
    on_layer(&registry, &image, |_, seen, reply| {
        // Not even what it begins with is progress if nothing follows.
        let cut_at = if seen.range.is_some() { 0 } else { 1000 };
        let pause = Duration::from_secs(3600);
        let body = reply.body.slice(..cut_at);
        let drip = Some((1, pause));
        Reply {
            drip,
            body,
            ..reply
        }
        .header("content-length", "300000")
    });
    let began = std::time::Instant::now();
    let images = node.open().await;
    let error = images.pull(&name, None).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::BadImage),
        "{}",
        chain(&error)
    );
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_trickle_is_no_progress() {
    let image = TestImage::large(300_000);
    let (mut node, registry, name) = serving(&image).await;
    node.config.stall_timeout_seconds = 1;
    node.config.stall_min_bytes = 10_000;
    on_layer(&registry, &image, |_, _, reply| Reply {
        drip: Some((10, Duration::from_millis(20))),
        ..reply
    });
    let images = node.open().await;
    let pull = images.pull(&name, None);
    let outcome = tokio::time::timeout(Duration::from_secs(15), pull).await;
    let error = outcome.expect("a trickle kept the pull alive").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{}", chain(&error));
}

#[tokio::test]
async fn a_slow_but_steady_download_succeeds() {
    let image = TestImage::large(300_000);
    let (mut node, registry, name) = serving(&image).await;
    node.config.stall_timeout_seconds = 1;
    node.config.stall_min_bytes = 10_000;
    on_layer(&registry, &image, |_, _, reply| Reply {
        drip: Some((20_000, Duration::from_millis(150))),
        ..reply
    });
    node.open().await.pull(&name, None).await.unwrap();
}

#[tokio::test]
async fn a_busy_registry_is_asked_again_when_it_says() {
    let image = TestImage::small("a");
    let (mut node, registry, name) = serving(&image).await;
    node.config.retries = 1;
    let asked = AtomicUsize::new(0);
    registry.rule(move |_| {
        let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
        first.then(|| Reply::new(429).header("retry-after", "1"))
    });
    let began = std::time::Instant::now();
    node.open().await.pull(&name, None).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_layer_with_another_digest_is_refused() {
    let image = TestImage::large(100_000);
    let (node, registry, name) = serving(&image).await;
    on_layer(&registry, &image, |_, _, mut reply| {
        let mut bytes = reply.body.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        reply.body = bytes.into();
        reply
    });
    check_refused(&node, &name, ErrorKind::BadImage, "layer").await;
    assert_eq!(node.files().len(), 0);
}

#[tokio::test]
async fn a_layer_of_another_size_is_refused() {
    let image = TestImage::large(100_000);
    for (change, says) in [(-1, "offers"), (1, "offers")] {
        let (node, registry, name) = serving(&image).await;
        on_layer(&registry, &image, move |_, _, mut reply| {
            let mut bytes = reply.body.to_vec();
            bytes.resize(bytes.len().checked_add_signed(change).unwrap(), 0);
            reply.body = bytes.into();
            reply
        });
        check_refused(&node, &name, ErrorKind::BadImage, says).await;
    }
}

#[tokio::test]
async fn a_configuration_with_another_digest_is_refused() {
    let image = TestImage::small("a");
    let (node, registry, name) = serving(&image).await;
    let path = format!("app/blobs/{}", image.id());
    let other = String::from_utf8(image.config.clone())
        .unwrap()
        .replace("1002", "0000");
    registry.put(&path, "application/json", other);
    check_refused(&node, &name, ErrorKind::BadImage, "fetch configuration").await;
}

#[tokio::test]
async fn a_manifest_with_another_digest_is_refused() {
    let image = TestImage::small("a");
    let (node, registry, name) = serving(&image).await;
    let other = TestImage::small("b").manifest;
    registry.put(
        &format!("app/manifests/{}", image.digest()),
        MANIFEST,
        other,
    );
    check_refused(&node, &name, ErrorKind::BadImage, "fetch manifest").await;
}

#[tokio::test]
async fn a_layer_that_is_not_the_one_configured_is_refused() {
    let mut image = TestImage::small("a");
    let lie = Layer {
        diff_id: Digest::of(b"another"),
        ..image.layers[0].clone()
    };
    image = TestImage::new(vec![lie]);
    let (node, _registry, name) = serving(&image).await;
    check_refused(&node, &name, ErrorKind::BadImage, "unpacks to").await;
    assert_eq!(node.files().len(), 0);
}

/// An image whose manifest says that its layer or its configuration has another size.
fn resized(image: &TestImage, part: &str, size: u64) -> TestImage {
    let mut manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
    manifest.pointer_mut(part).unwrap()["size"] = size.into();
    TestImage {
        manifest: manifest.to_string().into_bytes(),
        ..image.clone()
    }
}

#[tokio::test]
async fn sizes_that_make_no_sense_come_to_an_end() {
    let image = TestImage::small("a");
    for (part, size, says) in [
        ("/layers/0", 0, "can't have 0 bytes"),
        ("/config", 0, "can't have 0 bytes"),
        ("/layers/0", u64::MAX, "larger than"),
        ("/config", u64::MAX, "bytes"),
    ] {
        let (node, _registry, name) = serving(&resized(&image, part, size)).await;
        check_refused(&node, &name, ErrorKind::BadImage, says).await;
    }
    // Nothing at all is no tar of anything, or one of nothing.
    let empty = TestImage::new(vec![Layer::of_tar(b"", Compression::None)]);
    let (node, _registry, name) = serving(&empty).await;
    let images = node.open().await;
    let _ = tokio::time::timeout(Duration::from_secs(10), images.pull(&name, None))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_no_layer_is_refused() {
    let mut broken = Layer::new(&[("a", &crate::image::noise(50_000))], Compression::Gzip);
    broken.blob[20_000] ^= 0xff;
    let garbage = Layer::of_tar(&crate::image::noise(50_000), Compression::None);
    for layer in [broken, garbage] {
        let (node, _registry, name) = serving(&TestImage::new(vec![layer])).await;
        check_refused(&node, &name, ErrorKind::BadImage, "layer").await;
    }
}

#[tokio::test]
async fn a_layer_that_inflates_without_end_is_refused() {
    let bomb = Layer::new(&[("zero", &vec![0; 3 << 20])], Compression::Zstd);
    let (mut node, _registry, name) = serving(&TestImage::new(vec![bomb])).await;
    node.config.max_layer_mib = 2;
    check_refused(&node, &name, ErrorKind::BadImage, "max_layer_mib").await;
}

#[tokio::test]
async fn the_reserve_of_the_disk_is_left_alone() {
    let image = TestImage::small("a");
    let (mut node, _registry, name) = serving(&image).await;
    node.config.min_free_mib = u64::MAX >> 21;
    check_refused(&node, &name, ErrorKind::NoSpace, "find space").await;
}

#[tokio::test]
async fn documents_are_read_up_to_a_limit() {
    let image = TestImage::small("a");
    let (node, registry, name) = serving(&image).await;
    let long = [image.manifest.as_slice(), &vec![b' '; 5 << 20]].concat();
    push_document(&registry, "app", "latest", MANIFEST, &long);
    check_refused(&node, &name, ErrorKind::BadImage, "bytes").await;
}

#[tokio::test]
async fn a_document_that_is_manifest_and_index_is_refused() {
    let image = TestImage::small("a");
    let (node, registry, name) = serving(&image).await;
    let mut both: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
    both["manifests"] = json!([descriptor(MANIFEST, &image.manifest)]);
    let both = both.to_string();
    push_document(&registry, "app", "latest", MANIFEST, both.as_bytes());
    check_refused(&node, &name, ErrorKind::BadImage, "ambiguous").await;
}

#[tokio::test]
async fn a_tag_that_moves_between_two_requests_does_no_harm() {
    let [old, new] = ["old", "new"].map(TestImage::small);
    let (node, registry, name) = serving(&old).await;
    let (usual, later) = (registry.clone(), new.clone());
    registry.rule(move |seen| {
        let head = seen.method == Method::HEAD;
        let reply = usual.usual(seen);
        // Between HEAD and GET somebody pushes.
        later.push(&usual, "app", "latest");
        head.then_some(reply)
    });
    let id = node.open().await.pull(&name, None).await.unwrap();
    assert_eq!(id.to_string(), old.id());
}

#[tokio::test]
async fn a_registry_without_head_or_digest_header_will_do() {
    let image = TestImage::small("a");
    for status in [405, 200] {
        let (node, registry, name) = serving(&image).await;
        let usual = registry.clone();
        registry.rule(move |seen| match seen.method {
            Method::HEAD if status != 200 => Some(Reply::new(status)),
            _ => {
                let mut reply = usual.usual(seen);
                reply
                    .headers
                    .retain(|(name, _)| name != "docker-content-digest");
                Some(reply)
            }
        });
        let images = node.open().await;
        images.pull(&name, None).await.unwrap();
        images.pull(&name, None).await.unwrap();
        assert_eq!(registry.count(Seen::is_blob), 2);
    }
}

#[tokio::test]
async fn a_pull_that_nobody_waits_for_ends_and_leaves_nothing() {
    let image = TestImage::large(300_000);
    let (node, registry, name) = serving(&image).await;
    on_layer(&registry, &image, |_, _, reply| Reply {
        drip: Some((1000, Duration::from_millis(50))),
        ..reply
    });
    let images = node.open().await;
    let pull = images.pull(&name, None);
    assert!(
        tokio::time::timeout(Duration::from_millis(700), pull)
            .await
            .is_err()
    );
    let gone = async {
        while node.ingest() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone)
        .await
        .unwrap();
    assert!(images.list().is_empty());
}

#[tokio::test]
async fn who_still_waits_gets_the_image_that_another_gave_up_on() {
    let image = TestImage::large(300_000);
    let (node, registry, name) = serving(&image).await;
    on_layer(&registry, &image, |_, _, reply| Reply {
        drip: Some((30_000, Duration::from_millis(100))),
        ..reply
    });
    let images = node.open().await;
    let hasty = tokio::time::timeout(Duration::from_millis(500), images.pull(&name, None));
    let (hasty, patient) = tokio::join!(hasty, images.pull(&name, None));
    assert!(hasty.is_err());
    patient.unwrap();
    assert_eq!(
        registry.count(Seen::is_blob),
        2,
        "configuration and layer, each once"
    );
}

#[tokio::test]
async fn a_registry_that_trickles_does_not_hold_up_others() {
    let noise = crate::image::noise(50_000);
    let layers = ["a", "b"].map(|name| Layer::new(&[(name, &noise)], Compression::Gzip));
    let image = TestImage::new(layers.to_vec());
    let (mut node, slow, slow_name) = serving(&image).await;
    (node.config.layers_per_pull, node.config.layers_at_once) = (2, 2);
    let config = image.id();
    let (usual, fast) = (slow.clone(), MiniRegistry::start().await);
    slow.rule(move |seen| {
        let drip = Some((1, Duration::from_millis(50)));
        let trickles = seen.is_blob() && !seen.path.ends_with(&config);
        trickles.then(|| Reply {
            drip,
            ..usual.usual(seen)
        })
    });
    TestImage::small("fast").push(&fast, "app", "latest");
    image.push(&fast, "same", "latest");
    let images = node.open().await;
    let stuck: Vec<_> = (0..2)
        .map(|n| {
            let (images, name) = (images.clone(), format!("{slow_name}{n}"));
            image.push(&slow, &format!("app{n}"), "latest");
            tokio::spawn(async move { images.pull(&name, None).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let others = async {
        images
            .pull(&format!("{}/app", fast.host), None)
            .await
            .unwrap();
        // Not even if it is the same image.
        images
            .pull(&format!("{}/same", fast.host), None)
            .await
            .unwrap();
    };
    tokio::time::timeout(Duration::from_secs(10), others)
        .await
        .unwrap();
    stuck.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn layers_are_bounded_over_all_pulls() {
    let (mut node, registry) = (Node::new(), MiniRegistry::start().await);
    (node.config.layers_per_pull, node.config.layers_at_once) = (1, 1);
    let names: Vec<_> = (0..12).map(|n| format!("app{n}")).collect();
    let images = names.iter().map(|name| TestImage::small(name));
    let layers: Vec<_> = images
        .zip(&names)
        .map(|(image, name)| {
            image.push(&registry, name, "latest");
            image.layers[0].digest().to_string()
        })
        .collect();
    let (usual, served) = (registry.clone(), layers.clone());
    registry.rule(move |seen| {
        let drip = Some((100, Duration::from_secs(1)));
        let is_layer = served.iter().any(|layer| seen.path.ends_with(layer));
        is_layer.then(|| Reply {
            drip,
            ..usual.usual(seen)
        })
    });
    let begun = || registry.count(|seen| layers.iter().any(|layer| seen.path.ends_with(layer)));
    let images = node.open().await;
    let pulls = names.iter().map(|name| {
        let (images, name) = (images.clone(), format!("{}/{name}", registry.host));
        tokio::spawn(async move { images.pull(&name, None).await.unwrap() })
    });
    let pulls: Vec<_> = pulls.collect();
    while begun() < 9 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(begun(), 9, "one that all share, and 8 of single pulls");
    for pull in pulls {
        pull.await.unwrap();
    }
    assert_eq!(begun(), 12);
}

/// After a pull of two layers, one after the other, of which only the first came.
struct HalfPulled {
    node: Node,
    registry: MiniRegistry,
    images: Images,
    name: String,
    /// The digest of the layer that is here.
    first: String,
}

impl HalfPulled {
    async fn new() -> Self {
        let noise = crate::image::noise(50_000);
        let layers = ["a", "b"].map(|name| Layer::new(&[(name, &noise)], Compression::Gzip));
        let [first, second] = layers.each_ref().map(|layer| layer.digest().to_string());
        let (mut node, registry, name) = serving(&TestImage::new(layers.to_vec())).await;
        node.config.layers_per_pull = 1;
        registry.rule(move |seen| seen.path.ends_with(&second).then(|| Reply::new(500)));
        let images = node.open().await;
        images.pull(&name, None).await.unwrap_err();
        Self {
            node,
            registry,
            images,
            name,
            first,
        }
    }
}

#[tokio::test]
async fn layers_of_a_failed_pull_wait_for_the_next_try() {
    let half = HalfPulled::new().await;
    half.registry.rule(|_| None);
    half.registry.forget_seen();
    half.images.pull(&half.name, None).await.unwrap();
    let again = |seen: &Seen| seen.path.ends_with(&half.first);
    assert_eq!(half.registry.count(again), 0);
}

#[tokio::test]
async fn layers_of_a_failed_pull_make_room_where_there_is_none() {
    let HalfPulled {
        mut node,
        registry: _registry,
        images,
        name,
        ..
    } = HalfPulled::new().await;
    assert_eq!(node.files().len(), 2, "a layer and its sidecar");
    drop(images);

    node.config.min_free_mib = u64::MAX >> 20;
    let images = node.open().await;
    let error = images.pull(&name, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert_eq!(node.files(), Vec::<std::path::PathBuf>::new());
}
