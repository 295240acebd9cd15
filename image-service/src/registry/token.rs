//! Tokens and passwords that a registry has accepted, for as long as they are good.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reqwest::header::HeaderValue;

/// How long a password is sent without being asked for again.
const PASSWORD_LIFE: Duration = Duration::from_secs(300);

/// What the distribution specification assumes where a token says nothing.
const DEFAULT_TOKEN_LIFE: Duration = Duration::from_secs(60);

const MAX_TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

const MAX_ENTRIES: usize = 1024;

/// Values of `Authorization`, by what they are good for.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<TokenKey, Token>>);

/// A token serves one repository at one host for one credential, and nothing else.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct TokenKey {
    /// Base URL of the host.
    pub(super) host: String,
    /// Repository.
    pub(super) repository: String,
    /// Hash of the credential that it was given for.
    pub(super) credential: [u8; 32],
}

/// A value of `Authorization`, and until when it is good.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) authorization: HeaderValue,
    expires: Instant,
}

impl Token {
    /// A password is good until refused, but not for ever.
    pub(super) fn password(authorization: HeaderValue) -> Self {
        Self {
            authorization,
            expires: Instant::now() + PASSWORD_LIFE,
        }
    }

    /// A token asked for at `asked`, good for `expires_in` seconds from then.
    pub(super) fn bearer(
        authorization: HeaderValue,
        asked: Instant,
        expires_in: Option<u64>,
    ) -> Self {
        let life = expires_in
            .map_or(DEFAULT_TOKEN_LIFE, Duration::from_secs)
            .min(MAX_TOKEN_LIFE);
        // A tenth less, so that it does not expire on its way.
        Self {
            authorization,
            expires: asked + life.mul_f32(0.9),
        }
    }
}

impl Tokens {
    pub(super) fn get(&self, key: &TokenKey) -> Option<HeaderValue> {
        let tokens = self.0.lock();
        let token = tokens
            .get(key)
            .filter(|token| token.expires > Instant::now())?;
        Some(token.authorization.clone())
    }

    pub(super) fn put(&self, key: TokenKey, token: Token) {
        let mut tokens = self.0.lock();
        let now = Instant::now();
        tokens.retain(|_, token| token.expires > now);
        if tokens.len() >= MAX_ENTRIES {
            tokens.clear();
        }
        tokens.insert(key, token);
    }

    pub(super) fn forget(&self, key: &TokenKey) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(credential: u8) -> TokenKey {
        let host = "https://r.example/v2".to_owned();
        TokenKey {
            host,
            repository: "app".to_owned(),
            credential: [credential; 32],
        }
    }

    #[test]
    fn a_token_is_kept_for_its_credential_only_and_until_it_expires() {
        let tokens = Tokens::default();
        let value = HeaderValue::from_static("Bearer x");
        tokens.put(
            key(1),
            Token::bearer(value.clone(), Instant::now(), Some(60)),
        );
        assert_eq!(tokens.get(&key(1)), Some(value.clone()));
        assert_eq!(tokens.get(&key(2)), None);
        tokens.put(key(3), Token::bearer(value, Instant::now(), Some(0)));
        assert_eq!(tokens.get(&key(3)), None);
        tokens.forget(&key(1));
        assert_eq!(tokens.get(&key(1)), None);
    }
}
