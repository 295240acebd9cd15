//! Answering a registry's challenge.

use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder, Url};
use serde::Deserialize;

use super::body::{read_body, registry_message};
use super::challenge::{Challenge, challenge_of};
use super::credential::Credential;
use super::failure::{Class, Failure};
use super::hosts::Host;
use super::timing::Timing;
use super::token::Token;

/// Tokens are a few kilobytes.
const MAX_TOKEN_BYTES: u64 = 1 << 20;

/// Who asks for what, and over which connection.
pub(super) struct Authorizer<'a> {
    pub(super) host: &'a Host,
    pub(super) client: &'a Client,
    pub(super) credential: &'a Credential,
    /// What is asked for unless the registry says otherwise.
    pub(super) scope: &'a str,
    pub(super) timing: &'a Timing,
}

/// Both ways of asking answer alike.
#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Authorizer<'_> {
    /// What to send so that the host which answered 401 with these `headers` answers otherwise.
    pub(super) async fn answer(&self, headers: &HeaderMap) -> Result<Token, Failure> {
        match (challenge_of(headers), self.credential) {
            (None, _) => Err(denied("401 without a challenge that we understand")),
            (Some(Challenge::Basic), Credential::Password { username, password }) => {
                Ok(Token::password(basic(username, password)?))
            }
            (Some(Challenge::Basic), _) => Err(denied(
                "401, it wants a user name and a password, and none were given",
            )),
            (Some(Challenge::Bearer { .. }), Credential::Access { token }) => {
                Ok(Token::password(bearer(token)?))
            }
            (
                Some(Challenge::Bearer {
                    realm,
                    service,
                    scope,
                }),
                _,
            ) => {
                let scope = scope.as_deref().unwrap_or(self.scope);
                self.token(&realm, service.as_deref(), scope).await
            }
        }
    }

    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
    ) -> Result<Token, Failure> {
        let realm = self.checked_realm(realm)?;
        let doing = format!("token from {}", realm.host_str().unwrap_or_default());
        let asked = Instant::now();
        let answer = self.ask(self.token_request(realm, service, scope)?).await;
        let answer = answer.map_err(|failure| failure.while_doing(doing))?;
        let token = answer.token.or(answer.access_token).unwrap_or_default();
        if token.is_empty() {
            return Err(denied("its token service answers without a token"));
        }
        Ok(Token::bearer(bearer(&token)?, asked, answer.expires_in))
    }

    /// A registry may send us elsewhere for tokens, but not from TLS to plain text.
    fn checked_realm(&self, realm: &str) -> Result<Url, Failure> {
        let url = Url::parse(realm).map_err(|_| denied("its token service is no URL"))?;
        match (self.host.base.scheme(), url.scheme()) {
            (_, "https") | ("http", "http") if url.has_host() => Ok(url),
            _ => Err(denied("its token service is not reached over https")),
        }
    }

    fn token_request(
        &self,
        mut realm: Url,
        service: Option<&str>,
        scope: &str,
    ) -> Result<RequestBuilder, Failure> {
        let mut pairs = vec![("scope", scope)];
        pairs.extend(service.map(|service| ("service", service)));
        // OAuth2 exchanges a refresh token by POST, everything else is the older GET.
        if let Credential::Identity { token } = self.credential {
            pairs.extend([("grant_type", "refresh_token"), ("refresh_token", token)]);
            pairs.push(("client_id", "bulkhead"));
            let mut form = realm.clone();
            form.query_pairs_mut().clear().extend_pairs(pairs);
            let body = form.query().unwrap_or_default().to_owned();
            let request = self.client.post(realm).body(body);
            return Ok(request.header(CONTENT_TYPE, "application/x-www-form-urlencoded"));
        }
        let Credential::Password { username, password } = self.credential else {
            realm.query_pairs_mut().extend_pairs(pairs);
            return Ok(self.client.get(realm));
        };
        pairs.push(("account", username));
        realm.query_pairs_mut().extend_pairs(pairs);
        Ok(self
            .client
            .get(realm)
            .header(AUTHORIZATION, basic(username, password)?))
    }

    async fn ask(&self, request: RequestBuilder) -> Result<TokenAnswer, Failure> {
        let request = request.header(ACCEPT, "application/json");
        let response = self.timing.answer(request.send()).await?;
        if !response.status().is_success() {
            let (status, headers) = (response.status(), response.headers().clone());
            let message = registry_message(response, self.timing).await;
            return Err(Failure::from_status(status, &headers, &message));
        }
        let body = read_body(response, MAX_TOKEN_BYTES, self.timing).await?;
        serde_json::from_slice(&body).map_err(|_| denied("answers with something else than JSON"))
    }
}

fn denied(text: &str) -> Failure {
    Failure::new(Class::Denied, text)
}

fn basic(username: &str, password: &str) -> Result<HeaderValue, Failure> {
    sensitive(format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{username}:{password}"))
    ))
}

fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    sensitive(format!("Bearer {token}"))
}

/// A header value that never shows up in debug output.
fn sensitive(text: String) -> Result<HeaderValue, Failure> {
    let mut value =
        HeaderValue::try_from(text).map_err(|_| denied("a token that fits in no header"))?;
    value.set_sensitive(true);
    Ok(value)
}
