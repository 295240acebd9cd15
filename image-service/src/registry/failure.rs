//! Why hosts did not give us what we asked for.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::error::ErrorKind;

/// Longest text of a stranger that goes into an error.
const MAX_FOREIGN_CHARS: usize = 200;

/// Longest pause that a registry may impose on us.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// What one host did to one request.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) class: Class,
    /// What happened, for people.
    text: String,
    /// The host wants to be left alone for so long.
    pub(crate) retry_after: Option<Duration>,
}

/// What to do about a [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// It wants other credentials.
    Denied,
    /// It has no such thing.
    NotFound,
    /// Later it may work.
    Transient,
    /// It went silent.
    Stalled,
    /// It sent something else than it should have.
    Corrupt,
    /// Asking again is pointless.
    Permanent,
}

impl Failure {
    pub(crate) fn new(class: Class, text: impl Into<String>) -> Self {
        Self {
            class,
            text: text.into(),
            retry_after: None,
        }
    }

    /// A request that got no answer.
    pub(crate) fn from_network(error: &reqwest::Error) -> Self {
        let class = if is_tls(error) {
            Class::Permanent
        } else {
            Class::Transient
        };
        // reqwest's outermost text repeats the URL; the causes say what happened.
        let causes: Vec<String> = causes(error).skip(1).map(ToString::to_string).collect();
        let text = if causes.is_empty() {
            error.to_string()
        } else {
            causes.join(": ")
        };
        Self::new(class, foreign(&text))
    }

    pub(crate) fn stalled(after: Duration) -> Self {
        Self::new(Class::Stalled, format!("stalled for {} s", after.as_secs()))
    }

    /// An answer that is no success; `message` is what the registry says about it.
    pub(crate) fn from_status(status: StatusCode, headers: &HeaderMap, message: &str) -> Self {
        let class = match status.as_u16() {
            401 | 403 => Class::Denied,
            404 => Class::NotFound,
            408 | 425 | 429 | 500..=599 => Class::Transient,
            _ => Class::Permanent,
        };
        let mut text = status.to_string();
        if !message.is_empty() {
            text = format!("{text} ({})", foreign(message));
        }
        let seconds = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = seconds.map(|s| Duration::from_secs(s).min(MAX_RETRY_AFTER));
        Self {
            class,
            text,
            retry_after,
        }
    }

    /// The same failure, with what we were doing when it happened.
    pub(crate) fn while_doing(mut self, doing: impl fmt::Display) -> Self {
        self.text = format!("{doing}: {}", self.text);
        self
    }

    /// Whether the same request may succeed later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self.class, Class::Transient | Class::Stalled)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What each host that was asked did, in the order of asking.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Attempts(pub(crate) Vec<(String, Failure)>);

impl Attempts {
    /// The class of the last failure: that of the registry itself, which knows best.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self.0.last().map(|(_, failure)| failure.class) {
            Some(Class::Denied) => ErrorKind::Denied,
            Some(Class::NotFound) => ErrorKind::NotFound,
            Some(Class::Stalled) => ErrorKind::TimedOut,
            Some(Class::Corrupt) => ErrorKind::BadImage,
            Some(Class::Transient | Class::Permanent) | None => ErrorKind::Unavailable,
        }
    }
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no host of the registry may be asked for this");
        }
        for (index, (host, failure)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{host}: {failure}")?;
        }
        Ok(())
    }
}

/// Text of a stranger, made fit for one line of an error.
pub(super) fn foreign(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_FOREIGN_CHARS)
        .collect()
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// Certificates don't get better by asking again. An I/O error hides its content from `source`.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let inner = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    error.is::<rustls::Error>()
        || inner.is_some_and(|inner| is_tls(inner))
        || error.source().is_some_and(is_tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_each_host_and_what_it_did() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        let busy = Failure::from_status(StatusCode::SERVICE_UNAVAILABLE, &headers, "");
        assert_eq!(busy.retry_after, Some(Duration::from_secs(7)));
        let denied = Failure::from_status(StatusCode::UNAUTHORIZED, &HeaderMap::new(), "no\nentry");
        let attempts = Attempts(vec![
            ("m.example".into(), busy),
            ("r.example".into(), denied),
        ]);
        assert_eq!(
            attempts.to_string(),
            "m.example: 503 Service Unavailable; r.example: 401 Unauthorized (no entry)"
        );
        assert_eq!(attempts.kind(), ErrorKind::Denied);
    }

    #[test]
    fn no_registry_silences_us_for_long() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "999999".parse().unwrap());
        let failure = Failure::from_status(StatusCode::TOO_MANY_REQUESTS, &headers, "");
        assert_eq!(failure.retry_after, Some(MAX_RETRY_AFTER));
    }
}
