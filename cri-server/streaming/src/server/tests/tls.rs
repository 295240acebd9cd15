//! TLS, and what goes wrong when it is set up.

use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::*;

/// A certificate for localhost in a directory of its own, and a client's trust in it.
fn certificate(directory: &std::path::Path) -> (Config, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let mut config = config();
    config.tls_certificate = directory.join("tls.crt");
    config.tls_key = directory.join("tls.key");
    std::fs::write(&config.tls_certificate, made.cert.pem()).unwrap();
    std::fs::write(&config.tls_key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (config, TlsConnector::from(Arc::new(client)))
}

#[tokio::test]
async fn with_a_certificate_clients_speak_tls() {
    let directory = tempfile::tempdir().unwrap();
    let (mut config, connector) = certificate(directory.path());
    config.advertised_host = "localhost".to_owned();
    let server = StreamingServer::open(config, Arc::new(Shell::default()))
        .await
        .unwrap();
    let url = server.exec(sh("true")).unwrap().url;
    let port = server.address().port();
    let path = url
        .strip_prefix(&format!("https://localhost:{port}"))
        .unwrap();
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = vec![0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head, b"HTTP/1.1 101");
}

#[tokio::test]
async fn a_missing_certificate_is_named() {
    let mut config = config();
    config.tls_certificate = "/no/such/tls.crt".into();
    config.tls_key = "/no/such/tls.key".into();
    let error = StreamingServer::open(config, Arc::new(Shell::default()))
        .await
        .unwrap_err();
    let chain = crate::executor::chain(&error);
    assert!(
        chain.starts_with("set up TLS for streaming: read /no/such/tls.crt: "),
        "{chain}"
    );
}
