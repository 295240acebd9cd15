//! Who may have an image, and who gets to see with which credentials.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use image_service::{Auth, Digest, ErrorKind, Images};

use crate::image::{MANIFEST, TestImage, push_document};
use crate::node::{Node, chain, serving};
use crate::registry::{MiniRegistry, Reply, Seen};

fn password(username: &str, password: &str) -> Auth {
    Auth {
        username: username.into(),
        password: password.into(),
        ..Auth::default()
    }
}

/// `Basic` with `user:secret`.
const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";

fn basic_challenge() -> Reply {
    let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}"#;
    Reply {
        status: 401,
        ..Reply::ok(body)
    }
    .header("www-authenticate", r#"Basic realm="x""#)
}

fn require_basic(registry: &MiniRegistry) {
    registry.rule(|seen| (seen.authorization.as_deref() != Some(BASIC)).then(basic_challenge));
}

/// A node, and a registry that has `image` as `app` for who knows the password.
async fn guarded(image: &TestImage) -> (Node, MiniRegistry, String) {
    let (node, registry, name) = serving(image).await;
    require_basic(&registry);
    (node, registry, name)
}

async fn pull_with_password(images: &Images, name: &str) {
    let right = password("user", "secret");
    images.pull(name, Some(&right)).await.unwrap();
}

#[tokio::test]
async fn a_password_is_sent_once_it_is_asked_for() {
    let (node, registry, name) = guarded(&TestImage::small("a")).await;
    let images = node.open().await;
    pull_with_password(&images, &name).await;
    let seen = registry.seen();
    assert_eq!(seen[0].authorization, None);
    // What was accepted once is not asked for with each request.
    assert!(
        seen[1..]
            .iter()
            .all(|seen| seen.authorization.as_deref() == Some(BASIC))
    );
}

#[tokio::test]
async fn a_refusal_names_the_registry_and_what_it_says() {
    let (node, registry, name) = guarded(&TestImage::small("a")).await;
    let images = node.open().await;
    let wrong = images
        .pull(&name, Some(&password("user", "wrong")))
        .await
        .unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Denied);
    let text = chain(&wrong);
    for part in [&name, &registry.host, "401 Unauthorized", "who are you"] {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
    assert!(!text.contains("wrong"), "{text:?} has the password");
    let none = images.pull(&name, None).await.unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Denied);
    assert!(chain(&none).contains("none were given"), "{}", chain(&none));
}

#[tokio::test]
async fn what_is_here_is_not_given_to_who_may_not_have_it() {
    let (node, _registry, name) = guarded(&TestImage::small("a")).await;
    let images = node.open().await;
    pull_with_password(&images, &name).await;
    for auth in [None, Some(password("user", "wrong"))] {
        let refused = images.pull(&name, auth.as_ref()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Denied);
    }
    let found = images.find(&name).unwrap();
    let by_digest = found.repo_digests.first().unwrap();
    assert!(images.pull(by_digest, None).await.is_err());
}

#[tokio::test]
async fn who_may_not_have_it_does_not_get_it_by_waiting_for_others() {
    let (node, registry, name) = serving(&TestImage::large(300_000)).await;
    let usual = registry.clone();
    registry.rule(move |seen| match seen.authorization.as_deref() {
        Some(BASIC) if seen.is_blob() => {
            let drip = Some((100_000, Duration::from_millis(100)));
            Some(Reply {
                drip,
                ..usual.usual(seen)
            })
        }
        Some(BASIC) => None,
        _ => Some(basic_challenge()),
    });
    let images = node.open().await;
    let (right, wrong) = (password("user", "secret"), password("user", "wrong"));
    let (right, wrong) = tokio::join!(
        images.pull(&name, Some(&right)),
        images.pull(&name, Some(&wrong)),
    );
    assert!(right.is_ok());
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Denied);
}

/// Claims whatever digest it is asked for, and has nothing to show.
fn claim_digest(registry: &MiniRegistry, image: &TestImage) {
    let digest = image.digest().to_string();
    registry.rule(move |seen| {
        let claim = Reply::new(200).header("docker-content-digest", &digest);
        (seen.method == "HEAD").then_some(claim)
    });
}

#[tokio::test]
async fn no_other_repository_can_vouch_for_what_is_here() {
    let image = TestImage::small("a");
    let (node, _registry, name) = guarded(&image).await;
    let evil = MiniRegistry::start().await;
    let images = node.open().await;
    pull_with_password(&images, &name).await;
    let known = images.list();

    let (by_tag, by_digest) = (
        format!("{}/x:1", evil.host),
        format!("{}/x@{}", evil.host, image.digest()),
    );
    claim_digest(&evil, &image);
    for name in [&by_tag, &by_digest] {
        images.pull(name, None).await.unwrap_err();
    }
    // The manifest alone doesn't do either.
    push_document(&evil, "x", "1", MANIFEST, &image.manifest);
    for name in [&by_tag, &by_digest] {
        let error = images.pull(name, None).await.unwrap_err();
        let config = Digest::of(&image.config).to_string();
        assert!(chain(&error).contains(&config), "{}", chain(&error));
    }
    assert_eq!(images.list(), known);
}

#[tokio::test]
async fn another_repository_that_has_the_image_sends_no_layers_again() {
    let (node, registry) = (Node::new(), MiniRegistry::start().await);
    let image = TestImage::small("a");
    image.push(&registry, "app", "1");
    image.push(&registry, "copy", "2");
    let images = node.open().await;
    for name in ["app:1", "copy:2"] {
        let name = format!("{}/{name}", registry.host);
        images.pull(&name, None).await.unwrap();
    }
    assert_eq!(images.list()[0].repo_digests.len(), 2);
    let layer = image.layers[0].digest().to_string();
    let config = Digest::of(&image.config).to_string();
    let sent = |digest: &str| registry.count(|seen| seen.path.ends_with(digest));
    assert_eq!((sent(&layer), sent(&config)), (1, 2));
}

/// A registry that wants tokens, and its token service. Tokens are `t<n>`, and each is good for so
/// many requests.
struct TokenService {
    registry: MiniRegistry,
    service: MiniRegistry,
}

impl TokenService {
    async fn start(uses: usize) -> Self {
        let [registry, service] = [MiniRegistry::start().await, MiniRegistry::start().await];
        TestImage::small("a").push(&registry, "team/app", "latest");
        let issued = Arc::new(AtomicUsize::new(0));
        let used = Arc::new(AtomicUsize::new(0));
        let realm = format!("http://{}/token", service.host);
        let (now, count) = (issued.clone(), used.clone());
        registry.rule(move |seen| {
            let current = format!("Bearer t{}", now.load(Ordering::SeqCst));
            let good = seen.authorization.as_deref() == Some(&current);
            if good && count.fetch_add(1, Ordering::SeqCst) < uses {
                return None;
            }
            let challenge = format!(
                r#"Bearer realm="{realm}",service="mini",scope="repository:team/app:pull""#
            );
            Some(Reply::new(401).header("www-authenticate", challenge))
        });
        service.rule(move |_| {
            used.store(0, Ordering::SeqCst);
            let token = format!("t{}", issued.fetch_add(1, Ordering::SeqCst) + 1);
            Some(Reply::ok(format!(
                r#"{{"access_token":"{token}","expires_in":300}}"#
            )))
        });
        Self { registry, service }
    }

    fn image(&self) -> String {
        format!("{}/team/app", self.registry.host)
    }

    fn asked(&self) -> Vec<Seen> {
        self.service.seen()
    }
}

#[tokio::test]
async fn a_token_is_fetched_once_and_for_this_repository_only() {
    let (node, tokens) = (Node::new(), TokenService::start(1000).await);
    let images = node.open().await;
    images
        .pull(&tokens.image(), Some(&password("user", "secret")))
        .await
        .unwrap();
    let asked = tokens.asked();
    assert_eq!(asked.len(), 1);
    assert!(
        asked[0]
            .path
            .contains("scope=repository%3Ateam%2Fapp%3Apull"),
        "{}",
        asked[0].path
    );
    assert!(asked[0].path.contains("service=mini"));
    assert_eq!(asked[0].authorization.as_deref(), Some(BASIC));
    assert!(
        tokens
            .registry
            .seen()
            .iter()
            .all(|seen| seen.authorization.as_deref() != Some(BASIC))
    );
}

#[tokio::test]
async fn a_token_is_fetched_for_nobody_in_particular_too() {
    let (node, tokens) = (Node::new(), TokenService::start(1000).await);
    let images = node.open().await;
    images.pull(&tokens.image(), None).await.unwrap();
    assert_eq!(tokens.asked()[0].authorization, None);
}

#[tokio::test]
async fn a_token_that_expires_in_the_middle_is_renewed() {
    let (node, tokens) = (Node::new(), TokenService::start(2).await);
    let images = node.open().await;
    images.pull(&tokens.image(), None).await.unwrap();
    assert_eq!(
        tokens.asked().len(),
        2,
        "HEAD and manifest, configuration and layer"
    );
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post() {
    let (node, tokens) = (Node::new(), TokenService::start(1000).await);
    let images = node.open().await;
    let auth = Auth {
        identity_token: "refresh me".into(),
        ..Auth::default()
    };
    images.pull(&tokens.image(), Some(&auth)).await.unwrap();
    let asked = &tokens.asked()[0];
    assert_eq!(asked.method, "POST");
    assert!(
        !asked.path.contains("refresh"),
        "secrets don't belong into URLs"
    );
    for part in [
        "grant_type=refresh_token",
        "refresh_token=refresh+me",
        "service=mini",
    ] {
        assert!(asked.body.contains(part), "{:?} lacks {part}", asked.body);
    }
}

#[tokio::test]
async fn a_registry_token_is_sent_as_it_is() {
    let (node, registry, name) = serving(&TestImage::small("a")).await;
    registry.rule(|seen| match seen.authorization.as_deref() {
        Some("Bearer ready") => None,
        _ => {
            let challenge = r#"Bearer realm="http://127.0.0.1:1/token""#;
            Some(Reply::new(401).header("www-authenticate", challenge))
        }
    });
    let images = node.open().await;
    let auth = Auth {
        registry_token: "ready".into(),
        ..Auth::default()
    };
    images.pull(&name, Some(&auth)).await.unwrap();
}

#[tokio::test]
async fn a_token_service_that_fails_is_named() {
    let (node, tokens) = (Node::new(), TokenService::start(1000).await);
    tokens.service.rule(|_| {
        let body = r#"{"details":"incorrect username or password"}"#;
        Some(Reply {
            status: 401,
            ..Reply::ok(body)
        })
    });
    let images = node.open().await;
    let error = images
        .pull(&tokens.image(), Some(&password("user", "x")))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let text = chain(&error);
    assert!(
        text.contains("token from 127.0.0.1: 401 Unauthorized (incorrect"),
        "{text}"
    );
}

#[tokio::test]
async fn a_foreign_host_never_sees_authorization() {
    let image = TestImage::small("a");
    let (node, registry, name) = serving(&image).await;
    let storage = MiniRegistry::start().await;
    let layer = image.layers[0].clone();
    storage.put("signed", "application/octet-stream", layer.blob.clone());
    let (target, blob) = (storage.host.clone(), layer.digest().to_string());
    registry.rule(move |seen| {
        if seen.authorization.as_deref() != Some(BASIC) {
            return Some(basic_challenge());
        }
        let location = format!("http://{target}/v2/signed?x=1");
        let redirect = Reply::new(307).header("location", location);
        seen.path.ends_with(&blob).then_some(redirect)
    });
    let images = node.open().await;
    pull_with_password(&images, &name).await;
    let seen = storage.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].authorization, None);

    // Not even if it asks for it.
    images.remove(&name).await.unwrap();
    storage.forget_seen();
    storage.rule(|_| Some(basic_challenge()));
    let error = images
        .pull(&name, Some(&password("user", "secret")))
        .await
        .unwrap_err();
    assert!(
        storage
            .seen()
            .iter()
            .all(|seen| seen.authorization.is_none())
    );
    // Nor does its text, which may be from inside the node's network, get out.
    assert!(!chain(&error).contains("who are you"), "{}", chain(&error));
}

#[tokio::test]
async fn redirects_come_to_an_end() {
    let (node, registry) = (Node::new(), MiniRegistry::start().await);
    registry.rule(|seen| Some(Reply::new(302).header("location", seen.path.clone())));
    let images = node.open().await;
    let error = images
        .pull(&format!("{}/app", registry.host), None)
        .await
        .unwrap_err();
    assert!(chain(&error).contains("redirects"), "{}", chain(&error));
}

#[tokio::test]
async fn credentials_for_another_registry_stay_here() {
    let (node, registry, name) = guarded(&TestImage::small("a")).await;
    let images = node.open().await;
    let auth = Auth {
        server_address: "https://other.example".into(),
        ..password("user", "secret")
    };
    assert!(images.pull(&name, Some(&auth)).await.is_err());
    assert!(
        registry
            .seen()
            .iter()
            .all(|seen| seen.authorization.is_none())
    );
}
