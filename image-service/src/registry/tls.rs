//! Whom we trust and who we are, for one host.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// What a `hosts.toml` says about TLS; files by content, so that equal specs mean equal behaviour.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct TlsSpec {
    /// Authorities trusted beside the node's own, PEM.
    pub(crate) ca: Vec<Vec<u8>>,
    /// Our certificate and its key, PEM.
    pub(crate) client: Option<(Vec<u8>, Vec<u8>)>,
    /// Any certificate will do.
    pub(crate) skip_verify: bool,
}

impl std::fmt::Debug for TlsSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A private key is in here.
        f.debug_struct("TlsSpec")
            .field("skip_verify", &self.skip_verify)
            .finish_non_exhaustive()
    }
}

/// Certificates or keys that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file named in `hosts.toml` is no PEM of the right kind.
    #[error("read PEM")]
    Pem(#[from] pem::Error),
    /// A file named as `ca` in `hosts.toml` has something else in it, such as a key or DER.
    #[error("a ca file has no certificate in PEM")]
    NoAuthority,
    /// Certificate and key don't fit, or aren't supported.
    #[error("set up TLS")]
    Config(#[from] rustls::Error),
}

/// The client side of TLS as `spec` wants it.
pub(super) fn client_config(spec: &TlsSpec) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let builder = if spec.skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(roots(spec)?)
    };
    let mut config = match &spec.client {
        None => builder.with_no_client_auth(),
        Some((certificates, key)) => {
            let chain = CertificateDer::pem_slice_iter(certificates).collect::<Result<_, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?
        }
    };
    // One connection per download: HTTP/2 would squeeze all layers through one.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(spec: &TlsSpec) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // A node may carry roots that rustls does not like; the others still count.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for ca in &spec.ca {
        let known = roots.len();
        for certificate in CertificateDer::pem_slice_iter(ca) {
            roots.add(certificate?)?;
        }
        // The parser skips what it doesn't know, and each pull would fail with an unknown issuer.
        if roots.len() == known {
            return Err(TlsError::NoAuthority);
        }
    }
    Ok(roots)
}

/// `skip_verify`: the operator takes the network on trust. Content is still checked by digest.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
