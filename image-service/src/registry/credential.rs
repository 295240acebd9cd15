//! What the credentials of a call come down to.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::Url;
use sha2::{Digest as _, Sha256};

use crate::auth::Auth;

/// How to prove who is asking. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credential {
    /// Nobody in particular.
    Anonymous,
    /// User name and password.
    Password { username: String, password: String },
    /// An OAuth2 refresh token.
    Identity { token: String },
    /// An access token, ready to use.
    Access { token: String },
}

/// Credentials of a form that nobody can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// `auth` is malformed.
    #[error("auth is not base64 of username:password")]
    Encoding,
}

impl Credential {
    /// What `auth` says to `registry`.
    pub(super) fn of(auth: Option<&Auth>, registry: &str) -> Result<Self, CredentialError> {
        let Some(auth) = auth.filter(|auth| is_for(&auth.server_address, registry)) else {
            return Ok(Self::Anonymous);
        };
        if !auth.registry_token.is_empty() {
            return Ok(Self::Access {
                token: auth.registry_token.clone(),
            });
        }
        if !auth.identity_token.is_empty() {
            return Ok(Self::Identity {
                token: auth.identity_token.clone(),
            });
        }
        if !auth.username.is_empty() {
            let [username, password] = [&auth.username, &auth.password].map(Clone::clone);
            return Ok(Self::Password { username, password });
        }
        if !auth.auth.is_empty() {
            return decode(&auth.auth).ok_or(CredentialError::Encoding);
        }
        Ok(Self::Anonymous)
    }

    /// Stands for the credential where the credential itself must not be kept.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let fields: [&str; 3] = match self {
            Self::Anonymous => ["anonymous", "", ""],
            Self::Password { username, password } => ["password", username, password],
            Self::Identity { token } => ["identity", token, ""],
            Self::Access { token } => ["access", token, ""],
        };
        let mut hash = Sha256::new();
        for field in fields {
            // With its length, so that no two credentials run into the same bytes.
            hash.update((field.len() as u64).to_le_bytes());
            hash.update(field);
        }
        hash.finalize().into()
    }
}

fn decode(auth: &str) -> Option<Credential> {
    let text = String::from_utf8(BASE64_STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    // Docker pads with NULs.
    let password = password.trim_end_matches('\0');
    Some(Credential::Password {
        username: username.to_owned(),
        password: password.to_owned(),
    })
}

/// Whether credentials for `server` (a host or URL, or nothing in particular) are for `registry`.
fn is_for(server: &str, registry: &str) -> bool {
    if server.is_empty() {
        return true;
    }
    let with_scheme = if server.contains("://") {
        server.to_owned()
    } else {
        format!("https://{server}")
    };
    let Ok(url) = Url::parse(&with_scheme) else {
        return false;
    };
    let host = match (url.host_str().unwrap_or_default(), url.port()) {
        // The address that Docker has written into everybody's configuration.
        ("index.docker.io" | "registry-1.docker.io", None) => "docker.io".to_owned(),
        (host, None) => host.to_owned(),
        (host, Some(port)) => format!("{host}:{port}"),
    };
    host.eq_ignore_ascii_case(registry)
        || registry
            .strip_suffix(":443")
            .is_some_and(|bare| host.eq_ignore_ascii_case(bare))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(username: &str, password: &str) -> Credential {
        Credential::Password {
            username: username.into(),
            password: password.into(),
        }
    }

    #[track_caller]
    fn check(auth: Auth, registry: &str, expected: Result<Credential, CredentialError>) {
        assert!(Credential::of(Some(&auth), registry) == expected);
    }

    #[test]
    fn each_form_of_credentials_is_understood() {
        let auth = Auth {
            username: "u".into(),
            password: "p".into(),
            ..Auth::default()
        };
        check(auth, "r.example", Ok(password("u", "p")));
        let auth = Auth {
            auth: BASE64_STANDARD.encode("u:p:q\0\0"),
            ..Auth::default()
        };
        check(auth, "r.example", Ok(password("u", "p:q")));
        let auth = Auth {
            auth: "!".into(),
            ..Auth::default()
        };
        check(auth, "r.example", Err(CredentialError::Encoding));
        let auth = Auth {
            identity_token: "t".into(),
            ..Auth::default()
        };
        check(
            auth,
            "r.example",
            Ok(Credential::Identity { token: "t".into() }),
        );
        check(Auth::default(), "r.example", Ok(Credential::Anonymous));
    }

    #[test]
    fn credentials_for_another_server_are_not_used() {
        let auth = |server: &str| Auth {
            username: "u".into(),
            server_address: server.into(),
            ..Auth::default()
        };
        let yes = || Ok(password("u", ""));
        check(auth("https://r.example/v1/"), "r.example", yes());
        check(auth("r.example:5000"), "r.example:5000", yes());
        check(auth("https://index.docker.io/v1/"), "docker.io", yes());
        check(
            auth("https://evil.example"),
            "r.example",
            Ok(Credential::Anonymous),
        );
        check(
            auth("r.example.evil"),
            "r.example",
            Ok(Credential::Anonymous),
        );
    }

    #[test]
    fn fingerprints_tell_credentials_apart() {
        assert_ne!(
            password("ab", "c").fingerprint(),
            password("a", "bc").fingerprint()
        );
    }
}
