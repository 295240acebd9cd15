//! Servers that are killed while they pull.

use std::process::Stdio;
use std::time::Duration;

use image_service::Images;

use crate::image::{Compression, Layer, TestImage, noise};
use crate::node::Node;
use crate::registry::{MiniRegistry, Reply};

const NAME: &str = "BULKHEAD_TEST_PULL";
const DIRECTORY: &str = "BULKHEAD_TEST_DIRECTORY";

/// What the child of the test below does: pulls, removes and pulls again until it is killed.
#[tokio::test]
async fn the_victim_pulls_and_removes() {
    let (Ok(name), Ok(directory)) = (std::env::var(NAME), std::env::var(DIRECTORY)) else {
        // Started by itself there is nobody to kill it.
        return;
    };
    let mut config = Node::new().config;
    config.root_dir = directory.into();
    let images = Images::open(config).await.unwrap();
    loop {
        images.pull(&name, None).await.unwrap();
        images.remove(&name).await.unwrap();
    }
}

#[tokio::test]
async fn a_killed_server_leaves_a_store_that_works() {
    let (node, registry) = (Node::new(), MiniRegistry::start().await);
    let layer = |name| Layer::new(&[(name, &noise(200_000))], Compression::Gzip);
    let image = TestImage::new(vec![layer("a"), layer("b"), layer("c")]);
    image.push(&registry, "app", "latest");
    let usual = registry.clone();
    registry.rule(move |seen| {
        let drip = Some((50_000, Duration::from_millis(1)));
        seen.is_blob().then(|| Reply {
            drip,
            ..usual.usual(seen)
        })
    });
    let name = format!("{}/app", registry.host);
    for round in 0..10 {
        let mut victim = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::the_victim_pulls_and_removes"])
            .env(NAME, &name)
            .env(DIRECTORY, &node.config.root_dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(120 + 37 * round)).await;
        assert!(
            victim.try_wait().unwrap().is_none(),
            "the victim ended by itself"
        );
        victim.kill().await.unwrap();

        let images = node.open().await;
        assert_eq!(node.ingest(), 0);
        let id = images.pull(&name, None).await.unwrap();
        for path in ["/a", "/b", "/c"] {
            let content = images.read_file(&id, path, 1 << 20).await.unwrap().unwrap();
            assert_eq!(content.len(), 200_000);
        }
        images.remove(&name).await.unwrap();
        let left = node.files();
        assert!(left.is_empty(), "{left:?}");
    }
}
