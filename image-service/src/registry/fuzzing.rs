//! Doors for the fuzz targets to what a registry says, and what is said about it.

use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use super::challenge::challenge_of;
use super::hosts_toml::HostsToml;

/// A header that HTTP lets through.
pub(crate) fn challenge(header: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(header) {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, value);
        let _ = challenge_of(&headers);
    }
}

/// The file as text.
pub(crate) fn hosts_toml(text: &str) {
    let _ = toml::from_str::<HostsToml>(text);
}
