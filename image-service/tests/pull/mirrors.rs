//! Mirrors named in `hosts.toml`.

use hyper::Method;
use image_service::{Auth, ErrorKind};

use crate::image::TestImage;
use crate::node::{Node, chain};
use crate::registry::{MiniRegistry, Reply};

const NAME: &str = "registry.example/team/app:1";

/// A node that reaches `registry.example` at `registry` only, after the `mirrors`.
fn node(registry: &MiniRegistry, mirrors: &[(&MiniRegistry, &str)]) -> Node {
    let node = Node::new();
    let mut text = format!("server = \"http://{}\"\n", registry.host);
    for (mirror, settings) in mirrors {
        text.push_str(&format!("[host.\"http://{}\"]\n{settings}\n", mirror.host));
    }
    node.hosts_toml("registry.example", &text);
    node
}

#[tokio::test]
async fn a_mirror_serves_and_the_requested_name_stays() {
    let [registry, mirror] = [MiniRegistry::start().await, MiniRegistry::start().await];
    let image = TestImage::small("a");
    image.push(&mirror, "team/app", "1");
    let node = node(&registry, &[(&mirror, "")]);
    let images = node.open().await;
    images.pull(NAME, None).await.unwrap();
    let found = images.find(NAME).unwrap();
    assert_eq!(found.repo_tags.iter().collect::<Vec<_>>(), [NAME]);
    let digest = format!("registry.example/team/app@{}", image.digest());
    assert_eq!(found.repo_digests.iter().collect::<Vec<_>>(), [&digest]);
    assert_eq!(registry.seen().len(), 0);
    // A mirror of many registries must know which one is meant.
    assert!(
        mirror
            .seen()
            .iter()
            .all(|seen| seen.path.ends_with("?ns=registry.example"))
    );
}

#[tokio::test]
async fn a_mirror_that_fails_is_passed_over() {
    for status in [500, 503, 404, 401] {
        let [registry, mirror] = [MiniRegistry::start().await, MiniRegistry::start().await];
        TestImage::small("a").push(&registry, "team/app", "1");
        mirror.rule(move |_| Some(Reply::new(status)));
        let node = node(&registry, &[(&mirror, "")]);
        let images = node.open().await;
        images.pull(NAME, None).await.unwrap();
    }
}

#[tokio::test]
async fn a_mirror_that_is_down_is_passed_over() {
    let registry = MiniRegistry::start().await;
    TestImage::small("a").push(&registry, "team/app", "1");
    let node = Node::new();
    let text = format!(
        "server = \"http://{}\"\n[host.\"http://127.0.0.1:1\"]\n",
        registry.host
    );
    node.hosts_toml("registry.example", &text);
    node.open().await.pull(NAME, None).await.unwrap();
}

#[tokio::test]
async fn an_error_names_every_host_and_what_it_did() {
    let [registry, mirror] = [MiniRegistry::start().await, MiniRegistry::start().await];
    mirror.rule(|_| Some(Reply::new(503)));
    let node = node(&registry, &[(&mirror, "")]);
    let images = node.open().await;
    let error = images.pull(NAME, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let text = chain(&error);
    for part in [
        NAME.to_owned(),
        format!("{}: 503 Service Unavailable", mirror.host),
        format!("{}: 404 Not Found", registry.host),
    ] {
        assert!(text.contains(&part), "{text:?} lacks {part:?}");
    }
}

#[tokio::test]
async fn a_mirror_that_may_not_resolve_never_decides_what_a_tag_means() {
    let [registry, mirror] = [MiniRegistry::start().await, MiniRegistry::start().await];
    let [right, stale] = ["right", "stale"].map(TestImage::small);
    right.push(&registry, "team/app", "1");
    right.push(&mirror, "team/app", "other");
    stale.push(&mirror, "team/app", "1");
    let node = node(&registry, &[(&mirror, "capabilities = [\"pull\"]")]);
    let images = node.open().await;
    let id = images.pull(NAME, None).await.unwrap();
    assert_eq!(id.to_string(), right.id());
    // All that has a digest comes from the mirror.
    assert!(
        registry
            .seen()
            .iter()
            .all(|seen| seen.method == Method::HEAD)
    );
    assert_eq!(mirror.count(|seen| seen.is_blob()), 2);
}

#[tokio::test]
async fn what_a_mirror_serves_wrongly_comes_from_the_registry() {
    let [registry, mirror] = [MiniRegistry::start().await, MiniRegistry::start().await];
    let image = TestImage::large(200_000);
    for host in [&registry, &mirror] {
        image.push(host, "team/app", "1");
    }
    let good = image.layers[0].blob.clone();
    mirror.rule(move |seen| {
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        bad[100_000] ^= 1;
        seen.is_blob().then(|| Reply::ok(bad))
    });
    let node = node(&registry, &[(&mirror, "")]);
    let images = node.open().await;
    let id = images.pull(NAME, None).await.unwrap();
    assert!(
        images
            .read_file(&id, "/big", 1 << 20)
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn a_mirror_that_answers_for_another_tag_is_caught() {
    let [registry, mirror] = [MiniRegistry::start().await, MiniRegistry::start().await];
    let [right, wrong] = ["right", "wrong"].map(TestImage::small);
    right.push(&registry, "team/app", "1");
    let manifest = wrong.manifest.clone();
    mirror.rule(move |seen| {
        (seen.is_manifest() && seen.method == Method::GET).then(|| Reply::ok(manifest.clone()))
    });
    let node = node(&registry, &[(&mirror, "capabilities = [\"pull\"]")]);
    let images = node.open().await;
    let id = images.pull(NAME, None).await.unwrap();
    assert_eq!(id.to_string(), right.id());
}

fn challenge(registry: &MiniRegistry) {
    registry.rule(|seen| {
        let challenge = Reply::new(401).header("www-authenticate", r#"Basic realm="x""#);
        seen.authorization.is_none().then_some(challenge)
    });
}

#[tokio::test]
async fn a_mirror_sees_no_credentials_unless_it_is_trusted_with_them() {
    let auth = Auth {
        username: "u".into(),
        password: "p".into(),
        ..Auth::default()
    };
    for (settings, sees) in [("", false), ("credentials = \"upstream\"", true)] {
        let [registry, mirror] = [MiniRegistry::start().await, MiniRegistry::start().await];
        for host in [&registry, &mirror] {
            TestImage::small("a").push(host, "team/app", "1");
        }
        challenge(&mirror);
        let node = node(&registry, &[(&mirror, settings)]);
        let images = node.open().await;
        images.pull(NAME, Some(&auth)).await.unwrap();
        assert_eq!(mirror.count(|seen| seen.authorization.is_some()) > 0, sees);
        assert_eq!(registry.seen().is_empty(), sees);
    }
}

#[tokio::test]
async fn headers_go_to_their_own_host_only() {
    let [registry, mirror] = [MiniRegistry::start().await, MiniRegistry::start().await];
    TestImage::small("a").push(&registry, "team/app", "1");
    let settings = "[host.\"http://HOST\".header]\nx-secret = \"s\"".replace("HOST", &mirror.host);
    let node = node(&registry, &[(&mirror, &settings)]);
    let images = node.open().await;
    images.pull(NAME, None).await.unwrap();
    assert!(
        mirror
            .seen()
            .iter()
            .all(|seen| seen.headers["x-secret"] == "s")
    );
    assert!(
        registry
            .seen()
            .iter()
            .all(|seen| !seen.headers.contains_key("x-secret"))
    );
}

#[tokio::test]
async fn a_changed_file_counts_from_the_next_pull_on() {
    let [old, new] = [MiniRegistry::start().await, MiniRegistry::start().await];
    let node = node(&old, &[]);
    let images = node.open().await;
    assert!(images.pull(NAME, None).await.is_err());
    TestImage::small("a").push(&new, "team/app", "1");
    node.hosts_toml(
        "registry.example",
        &format!("server = \"http://{}\"", new.host),
    );
    images.pull(NAME, None).await.unwrap();
    node.hosts_toml("registry.example", "server = [");
    let error = images.pull(NAME, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(chain(&error).contains("hosts.toml"), "{}", chain(&error));
}
