//! The credentials that come with one pull.

use std::fmt;

/// Credentials for the registry in the reference, as the kubelet sends them (CRI `AuthConfig`).
///
/// They go to the registry that the reference names, once it asks for them, and to nobody else:
/// not to mirrors (unless a `hosts.toml` says `credentials = "upstream"`), not along redirects.
/// Empty fields mean "not given".
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Auth {
    /// User name.
    pub username: String,
    /// Its password.
    pub password: String,
    /// Base64 of `username:password`, used where `username` is empty.
    pub auth: String,
    /// Registry that the credentials are for; they are ignored for any other.
    pub server_address: String,
    /// OAuth2 refresh token, to be exchanged for an access token.
    pub identity_token: String,
    /// Access token, sent as it is.
    pub registry_token: String,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secrets stay out of logs even where somebody logs a whole request.
        f.debug_struct("Auth")
            .field("username", &self.username)
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}
