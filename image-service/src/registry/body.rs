//! Reading small answers, within limits.

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use serde::Deserialize;

use super::failure::{Class, Failure};
use super::timing::Timing;

/// An error's text is at the front.
const MAX_ERROR_BYTES: u64 = 16 << 10;

/// All of a body that may not be larger than `max_bytes`.
pub(super) async fn read_body(
    mut response: Response,
    max_bytes: u64,
    timing: &Timing,
) -> Result<Bytes, Failure> {
    let too_large = || {
        Failure::new(
            Class::Corrupt,
            format!("answers with over {max_bytes} bytes"),
        )
    };
    if response.content_length().is_some_and(|len| len > max_bytes) {
        return Err(too_large());
    }
    let mut clock = timing.stall_clock();
    let mut body = BytesMut::new();
    while let Some(chunk) = clock.chunk(&mut response).await? {
        if (body.len() + chunk.len()) as u64 > max_bytes {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The forms in which registries and token services explain themselves.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    errors: Vec<ErrorEntry>,
    error_description: Option<String>,
    details: Option<String>,
    message: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorEntry {
    code: String,
    message: String,
}

/// What a registry says about its refusal; empty if nothing that is meant for people.
pub(super) async fn registry_message(response: Response, timing: &Timing) -> String {
    let Ok(body) = read_body(response, MAX_ERROR_BYTES, timing).await else {
        return String::new();
    };
    let body: ErrorBody = serde_json::from_slice(&body).unwrap_or_default();
    let entry = body
        .errors
        .into_iter()
        .next()
        .map(|entry| match entry.message.is_empty() {
            true => entry.code,
            false => entry.message,
        });
    entry
        .or(body.error_description)
        .or(body.details)
        .or(body.message)
        .unwrap_or_default()
}
