//! Registries behind TLS.

use std::fs;
use std::sync::Arc;

use image_service::ErrorKind;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::image::TestImage;
use crate::node::{Node, chain};
use crate::registry::{MiniRegistry, Reply};

const NAME: &str = "registry.example/app";

/// An authority that nobody knows, and what it issues.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Certificate and key, PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let issuer: &Issuer<'_, KeyPair> = &self.0;
        let certificate = params.signed_by(&key, issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    /// A registry at 127.0.0.1 with a certificate of this authority; it may want one in turn.
    async fn registry(&self, wants_client: bool) -> MiniRegistry {
        let (certificate, key) = self.issue("127.0.0.1");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if wants_client {
            let roots = Arc::new(self.roots());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = builder.with_single_cert(chain, key).unwrap();
        let registry = MiniRegistry::start_tls(TlsAcceptor::from(Arc::new(config))).await;
        TestImage::small("a").push(&registry, "app", "latest");
        registry
    }
}

/// A node that reaches `registry.example` at `registry`, with these lines in its `hosts.toml` and
/// these files beside it.
fn node(registry: &MiniRegistry, lines: &str, files: &[(&str, &str)]) -> Node {
    let node = Node::new();
    let text = format!("server = \"https://{}\"\n{lines}", registry.host);
    node.hosts_toml("registry.example", &text);
    for (name, content) in files {
        let dir = node.config.hosts_dirs[0].join("registry.example");
        fs::write(dir.join(name), content).unwrap();
    }
    node
}

#[tokio::test]
async fn an_unknown_certificate_is_refused_and_not_tried_again() {
    let authority = Authority::new();
    let registry = authority.registry(false).await;
    let mut node = node(&registry, "", &[]);
    node.config.retries = 5;
    let began = std::time::Instant::now();
    let error = node.open().await.pull(NAME, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(chain(&error).contains("certificate"), "{}", chain(&error));
    assert!(began.elapsed().as_secs() < 2);
}

#[tokio::test]
async fn an_authority_may_be_named_for_a_host() {
    let authority = Authority::new();
    let registry = authority.registry(false).await;
    let node = node(
        &registry,
        "ca = \"ca.pem\"",
        &[("ca.pem", &authority.0.pem())],
    );
    node.open().await.pull(NAME, None).await.unwrap();
}

#[tokio::test]
async fn an_authority_that_is_no_certificate_is_named() {
    let authority = Authority::new();
    let registry = authority.registry(false).await;
    let key = authority.issue("node").1;
    for content in ["", &key] {
        let node = node(&registry, "ca = \"ca.pem\"", &[("ca.pem", content)]);
        let error = node.open().await.pull(NAME, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        let text = chain(&error);
        assert!(text.contains("a ca file has no certificate"), "{text}");
    }
}

#[tokio::test]
async fn an_operator_may_take_the_network_on_trust() {
    let registry = Authority::new().registry(false).await;
    let node = node(&registry, "skip_verify = true", &[]);
    node.open().await.pull(NAME, None).await.unwrap();
}

#[tokio::test]
async fn we_show_the_certificate_that_a_host_wants() {
    let authority = Authority::new();
    let registry = authority.registry(true).await;
    let (certificate, key) = authority.issue("node");
    let ca = ("ca.pem", authority.0.pem());
    let files = [
        (ca.0, ca.1.as_str()),
        ("node.pem", &certificate),
        ("node.key", &key),
    ];
    let lines = "ca = \"ca.pem\"\nclient = [[\"node.pem\", \"node.key\"]]";
    node(&registry, lines, &files)
        .open()
        .await
        .pull(NAME, None)
        .await
        .unwrap();
    let without = node(&registry, "ca = \"ca.pem\"", &files);
    assert!(without.open().await.pull(NAME, None).await.is_err());
}

#[tokio::test]
async fn nothing_leads_from_tls_to_plain_text() {
    let authority = Authority::new();
    let registry = authority.registry(false).await;
    let plain = MiniRegistry::start().await;
    TestImage::small("a").push(&plain, "app", "latest");
    let node = node(
        &registry,
        "ca = \"ca.pem\"",
        &[("ca.pem", &authority.0.pem())],
    );
    let images = node.open().await;

    let location = format!("http://{}/v2/app/manifests/latest", plain.host);
    registry.rule(move |_| Some(Reply::new(307).header("location", &location)));
    let error = images.pull(NAME, None).await.unwrap_err();
    assert!(
        chain(&error).contains("redirects from https"),
        "{}",
        chain(&error)
    );

    let challenge = format!("Bearer realm=\"http://{}/token\"", plain.host);
    registry.rule(move |_| Some(Reply::new(401).header("www-authenticate", &challenge)));
    let error = images.pull(NAME, None).await.unwrap_err();
    assert!(
        chain(&error).contains("not reached over https"),
        "{}",
        chain(&error)
    );
    assert!(plain.seen().is_empty());
}
