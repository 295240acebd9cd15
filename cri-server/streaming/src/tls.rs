//! TLS, for those who let clients in from other machines.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::TlsAcceptor;

use crate::config::Config;

/// TLS that can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or is not PEM.
    #[error("read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// Certificate and key are not usable, or don't belong together.
    #[error("use the certificate {path}")]
    Use {
        /// The file with the certificate.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
}

/// What accepts TLS connections, if the configuration asks for TLS.
pub(crate) fn acceptor(config: &Config) -> Result<Option<TlsAcceptor>, TlsError> {
    if !config.tls() {
        return Ok(None);
    }
    let path = config.tls_certificate.clone();
    let using = |source| TlsError::Use { path, source };
    let chain = certificates(&config.tls_certificate)?;
    let key = PrivateKeyDer::from_pem_file(&config.tls_key).map_err(|source| TlsError::Read {
        path: config.tls_key.clone(),
        source,
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(using)?;
    Ok(Some(TlsAcceptor::from(Arc::new(tls))))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let reading = |source| TlsError::Read {
        path: path.to_path_buf(),
        source,
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(reading)?;
    certificates.collect::<Result<_, _>>().map_err(reading)
}
