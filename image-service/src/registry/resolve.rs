//! From a name to a manifest: what the tag means, and the document itself.

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Response};

use super::body::read_body;
use super::failure::{Attempts, Class, Failure};
use super::request::Ask;
use super::{Endpoint, Session};
use crate::digest::Digest;
use crate::reference::Target;

/// What containerd and the registries agree on.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 4 << 20;

const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// A manifest or an index, with the digest that its bytes have.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) digest: Digest,
    /// `Content-Type` of the answer, without parameters; empty if there was none.
    pub(crate) content_type: String,
    pub(crate) bytes: Bytes,
}

/// What a reference means now.
pub(crate) struct Resolved {
    pub(crate) digest: Digest,
    /// The document, where finding out the digest took it.
    pub(crate) document: Option<Document>,
}

impl Session {
    /// Asks the registry what the reference means, and thereby whether these credentials may have
    /// it. What is `known` already is not sent again.
    pub(crate) async fn resolve(
        &self,
        known: impl Fn(&Digest) -> bool,
    ) -> Result<Resolved, Attempts> {
        match &self.reference.target {
            Target::Tag(tag) => self.resolve_tag(tag).await,
            Target::Digest(digest) if known(digest) => self.prove_access(*digest).await,
            Target::Digest(digest) => Ok(self.document(*digest).await?.into()),
        }
    }

    async fn resolve_tag(&self, tag: &str) -> Result<Resolved, Attempts> {
        // A host that may not resolve must never decide what a tag means.
        let mut rounds = self.rounds(|host| host.resolve);
        while let Some(index) = rounds.next().await {
            match self.resolve_at(&self.endpoints[index], tag).await {
                Ok(resolved) => return Ok(resolved),
                Err(failure) => rounds.failed(index, &self.endpoints[index], failure),
            }
        }
        Err(rounds.give_up())
    }

    async fn resolve_at(&self, endpoint: &Endpoint, tag: &str) -> Result<Resolved, Failure> {
        let head = self.request(endpoint, &manifest(Method::HEAD, tag)).await;
        match head {
            Ok(response) => {
                if let Some(digest) = content_digest(&response)? {
                    return Ok(Resolved {
                        digest,
                        document: None,
                    });
                }
            }
            Err(failure) if is_worth_a_get(&failure) => {}
            Err(failure) => return Err(failure),
        }
        Ok(self.document_at(endpoint, tag).await?.into())
    }

    async fn prove_access(&self, digest: Digest) -> Result<Resolved, Attempts> {
        let mut rounds = self.rounds(|host| host.pull);
        let ask = manifest(Method::HEAD, &digest.to_string());
        while let Some(index) = rounds.next().await {
            match self.request(&self.endpoints[index], &ask).await {
                Ok(_) => {
                    return Ok(Resolved {
                        digest,
                        document: None,
                    });
                }
                Err(failure) if is_worth_a_get(&failure) => {
                    return Ok(self.document(digest).await?.into());
                }
                Err(failure) => rounds.failed(index, &self.endpoints[index], failure),
            }
        }
        Err(rounds.give_up())
    }

    /// The manifest or index with this digest.
    pub(crate) async fn document(&self, digest: Digest) -> Result<Document, Attempts> {
        let mut rounds = self.rounds(|host| host.pull);
        while let Some(index) = rounds.next().await {
            let endpoint = &self.endpoints[index];
            let document = self.document_at(endpoint, &digest.to_string()).await;
            match document.and_then(|document| expect_digest(document, digest)) {
                Ok(document) => return Ok(document),
                Err(failure) => rounds.failed(index, endpoint, failure),
            }
        }
        Err(rounds.give_up())
    }

    async fn document_at(&self, endpoint: &Endpoint, target: &str) -> Result<Document, Failure> {
        let response = self
            .request(endpoint, &manifest(Method::GET, target))
            .await?;
        let claimed = content_digest(&response)?;
        let content_type = content_type(&response);
        let bytes = read_body(response, MAX_MANIFEST_BYTES, &self.registry.timing).await?;
        let document = Document {
            digest: Digest::of(&bytes),
            content_type,
            bytes,
        };
        match claimed {
            Some(claimed) => expect_digest(document, claimed),
            None => Ok(document),
        }
    }
}

/// Some registries know no HEAD, and a refusal has no text that says why.
fn is_worth_a_get(failure: &Failure) -> bool {
    matches!(failure.class, Class::Permanent | Class::Denied)
}

impl From<Document> for Resolved {
    fn from(document: Document) -> Self {
        Self {
            digest: document.digest,
            document: Some(document),
        }
    }
}

fn manifest(method: Method, target: &str) -> Ask {
    Ask {
        method,
        path: format!("manifests/{target}"),
        accept: MANIFEST_TYPES,
        from: 0,
    }
}

fn expect_digest(document: Document, digest: Digest) -> Result<Document, Failure> {
    if document.digest == digest {
        return Ok(document);
    }
    let text = format!(
        "sent a manifest with digest {}, not {digest}",
        document.digest
    );
    Err(Failure::new(Class::Corrupt, text))
}

/// `Docker-Content-Digest`, where a registry sends it.
fn content_digest(response: &Response) -> Result<Option<Digest>, Failure> {
    let Some(value) = response.headers().get("docker-content-digest") else {
        return Ok(None);
    };
    let digest = value.to_str().ok().and_then(|text| text.parse().ok());
    let malformed = || Failure::new(Class::Corrupt, "sent a malformed Docker-Content-Digest");
    digest.map(Some).ok_or_else(malformed)
}

fn content_type(response: &Response) -> String {
    let value = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}
