//! What the operator decides about streaming.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// The `[streaming]` table of the configuration file. It has no defaults: the shipped file is the default.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen; port 0 is any free one. Whoever reaches it still needs a token, but without TLS
    /// what travels can be read on the way, so it is best left on loopback.
    pub address: SocketAddr,
    /// Host that clients are told to connect to, if it is not that of `address`; empty for none.
    pub advertised_host: String,
    /// PEM file with the certificate chain; empty for plain HTTP, which is what the kubelet expects.
    pub tls_certificate: PathBuf,
    /// PEM file with the key of `tls_certificate`; empty for plain HTTP.
    pub tls_key: PathBuf,
    /// How long a URL may wait for its client, in seconds.
    pub token_timeout_s: u64,
    /// URLs that may wait for their clients at once.
    pub max_tokens: usize,
    /// Sessions at once.
    pub max_sessions: usize,
    /// How long a client may take to open its streams, in seconds.
    pub stream_creation_timeout_s: u64,
    /// A session without a byte in either direction ends after so many seconds.
    pub idle_timeout_s: u64,
}

impl Config {
    /// Every mistake in the configuration, each naming its key; empty if there is none.
    pub fn validate(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut must = |good: bool, mistake: &str| {
            if !good {
                mistakes.push(mistake.to_owned());
            }
        };
        let pair =
            self.tls_certificate.as_os_str().is_empty() == self.tls_key.as_os_str().is_empty();
        must(pair, "tls_certificate and tls_key must be set together");
        let told = !self.address.ip().is_unspecified() || !self.advertised_host.is_empty();
        must(
            told,
            "advertised_host must be set if address is that of any interface",
        );
        must(
            self.token_timeout_s > 0,
            "token_timeout_s must be at least 1",
        );
        must(self.max_tokens > 0, "max_tokens must be at least 1");
        must(self.max_sessions > 0, "max_sessions must be at least 1");
        must(
            self.stream_creation_timeout_s > 0,
            "stream_creation_timeout_s must be at least 1",
        );
        must(self.idle_timeout_s > 0, "idle_timeout_s must be at least 1");
        mistakes
    }

    /// Whether clients speak TLS.
    pub(crate) fn tls(&self) -> bool {
        !self.tls_certificate.as_os_str().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let config = Config {
            address: "0.0.0.0:0".parse().unwrap(),
            advertised_host: String::new(),
            tls_certificate: "/etc/bulkhead/streaming.pem".into(),
            tls_key: PathBuf::new(),
            token_timeout_s: 0,
            max_tokens: 1000,
            max_sessions: 1000,
            stream_creation_timeout_s: 30,
            idle_timeout_s: 0,
        };
        assert_eq!(config.validate().len(), 4, "{:?}", config.validate());
    }
}
