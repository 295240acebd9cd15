//! One request to one host: authorised where it asks for that, redirects followed with care.

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};
use tracing::debug;

use super::authorize::Authorizer;
use super::body::registry_message;
use super::credential::Credential;
use super::failure::{Class, Failure};
use super::token::TokenKey;
use super::{Endpoint, Session};

/// A registry hands downloads to a store, and that perhaps to another.
const MAX_REDIRECTS: usize = 5;

/// What is asked of a host.
pub(super) struct Ask {
    pub(super) method: Method,
    /// Below the repository: `manifests/latest`.
    pub(super) path: String,
    pub(super) accept: &'static str,
    /// Only what follows so many bytes.
    pub(super) from: u64,
}

/// A host's answer, and whether it came from the host that was asked.
struct Answer {
    response: Response,
    at_home: bool,
}

impl Session {
    /// The successful answer of `endpoint` to `ask`.
    pub(super) async fn request(
        &self,
        endpoint: &Endpoint,
        ask: &Ask,
    ) -> Result<Response, Failure> {
        let key = self.token_key(endpoint);
        let tokens = &self.registry.tokens;
        let mut answer = self.follow(endpoint, ask, tokens.get(&key)).await?;
        // Challenges of a foreign host are none of ours: it must never see a credential.
        if answer.response.status() == StatusCode::UNAUTHORIZED && answer.at_home {
            tokens.forget(&key);
            let authorizer = self.authorizer(endpoint);
            let token = authorizer.answer(answer.response.headers()).await?;
            answer = self
                .follow(endpoint, ask, Some(token.authorization.clone()))
                .await?;
            if answer.response.status() != StatusCode::UNAUTHORIZED {
                tokens.put(key, token);
            }
        }
        self.successful(answer).await
    }

    fn credential_for(&self, endpoint: &Endpoint) -> &Credential {
        match endpoint.host.takes_credentials {
            true => &self.credential,
            false => &Credential::Anonymous,
        }
    }

    fn token_key(&self, endpoint: &Endpoint) -> TokenKey {
        TokenKey {
            host: endpoint.host.base.to_string(),
            repository: self.reference.repository.clone(),
            credential: self.credential_for(endpoint).fingerprint(),
        }
    }

    fn authorizer<'a>(&'a self, endpoint: &'a Endpoint) -> Authorizer<'a> {
        Authorizer {
            host: &endpoint.host,
            client: &endpoint.client,
            credential: self.credential_for(endpoint),
            scope: &self.scope,
            timing: &self.registry.timing,
        }
    }

    /// Asks, and asks again wherever the answer points to. Authorization and the operator's own
    /// headers stay with the host that they are for.
    async fn follow(
        &self,
        endpoint: &Endpoint,
        ask: &Ask,
        authorization: Option<HeaderValue>,
    ) -> Result<Answer, Failure> {
        let mut url = self.url(endpoint, ask);
        for _ in 0..=MAX_REDIRECTS {
            let at_home = url.origin() == endpoint.host.base.origin();
            let mut headers = request_headers(ask);
            if at_home {
                headers.extend(endpoint.host.headers.clone());
                headers.extend(authorization.clone().map(|value| (AUTHORIZATION, value)));
            }
            let request = endpoint
                .client
                .request(ask.method.clone(), url.clone())
                .headers(headers);
            let response = self.registry.timing.answer(request.send()).await?;
            debug!(host = %endpoint.host.name, path = ask.path, status = %response.status(), at_home, "registry answered");
            match redirect(&url, &response)? {
                Some(next) => url = next,
                None => return Ok(Answer { response, at_home }),
            }
        }
        Err(Failure::new(
            Class::Permanent,
            format!("over {MAX_REDIRECTS} redirects"),
        ))
    }

    fn url(&self, endpoint: &Endpoint, ask: &Ask) -> Url {
        let mut url = endpoint.host.base.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!(
            "{base}/{}/{}",
            self.reference.repository, ask.path
        ));
        if let Some(registry) = &endpoint.host.stands_in_for {
            url.query_pairs_mut().append_pair("ns", registry);
        }
        url
    }

    async fn successful(&self, answer: Answer) -> Result<Response, Failure> {
        let Answer { response, at_home } = answer;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let headers = response.headers().clone();
        // Text of a host that we were only pointed to may be from inside the node's own network.
        let message = match at_home {
            true => registry_message(response, &self.registry.timing).await,
            false => "from a host it redirects to".to_owned(),
        };
        Err(Failure::from_status(status, &headers, &message))
    }
}

fn request_headers(ask: &Ask) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(ask.accept));
    if ask.from > 0 {
        let range = HeaderValue::try_from(format!("bytes={}-", ask.from));
        headers.insert(RANGE, range.expect("digits fit in a header"));
    }
    headers
}

/// Where `response` to a request for `url` points, if it is a redirect.
fn redirect(url: &Url, response: &Response) -> Result<Option<Url>, Failure> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let bad = |text: &str| Failure::new(Class::Permanent, text);
    let location = response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok());
    let next = location.and_then(|location| url.join(location).ok());
    let next = next.ok_or_else(|| bad("redirects to nowhere"))?;
    match (url.scheme(), next.scheme()) {
        (_, "https") | ("http", "http") => Ok(Some(next)),
        _ => Err(bad("redirects from https to something else")),
    }
}
