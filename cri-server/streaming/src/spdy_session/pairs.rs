//! Two streams make a forwarded connection: one for data, one for what goes wrong. No I/O.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::spdy::Offer;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Data,
    Error,
}

/// What a stream says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) half: Half,
    pub(super) port: u16,
    /// The other half has the same.
    pub(super) request: String,
}

impl Label {
    /// What the headers of a stream say, if they make sense.
    pub(super) fn read(offer: &Offer) -> Option<Self> {
        let half = match offer.headers.get("streamtype")? {
            "data" => Half::Data,
            "error" => Half::Error,
            _ => return None,
        };
        let port = offer
            .headers
            .get("port")?
            .parse()
            .ok()
            .filter(|port| *port > 0)?;
        let request = match offer.headers.get("requestid") {
            Some(request) => request.to_owned(),
            // Old clients open the stream for data right after that for errors.
            None if half == Half::Data => offer.id().checked_sub(2)?.to_string(),
            None => offer.id().to_string(),
        };
        Some(Self {
            half,
            port,
            request,
        })
    }
}

/// Halves that wait for the other one.
#[derive(Debug)]
pub(super) struct Pairs<T> {
    waiting: HashMap<String, Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    half: Half,
    stream: T,
    since: Instant,
}

/// Both halves of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pair<T> {
    pub(super) data: T,
    pub(super) error: T,
}

impl<T> Pairs<T> {
    pub(super) fn new() -> Self {
        Self {
            waiting: HashMap::new(),
        }
    }

    /// The half of this kind of the connection `request` waits already.
    pub(super) fn has(&self, request: &str, half: Half) -> bool {
        let waiting = self.waiting.get(request);
        waiting.is_some_and(|waiting| waiting.half == half)
    }

    /// Takes a half of the connection `request`, and answers with both once they are there.
    pub(super) fn add(
        &mut self,
        request: String,
        half: Half,
        stream: T,
        since: Instant,
    ) -> Option<Pair<T>> {
        let Some(other) = self.waiting.remove(&request) else {
            let waiting = Waiting {
                half,
                stream,
                since,
            };
            self.waiting.insert(request, waiting);
            return None;
        };
        let (data, error) = match half {
            Half::Data => (stream, other.stream),
            Half::Error => (other.stream, stream),
        };
        Some(Pair { data, error })
    }

    /// Gives back what has waited for longer than `timeout`.
    pub(super) fn expired(&mut self, now: Instant, timeout: Duration) -> Vec<T> {
        let late = |waiting: &Waiting<T>| now.duration_since(waiting.since) >= timeout;
        let gone = self.waiting.extract_if(|_, waiting| late(waiting));
        gone.map(|(_, waiting)| waiting.stream).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_find_each_other_in_any_order() {
        let now = Instant::now();
        let mut pairs = Pairs::new();
        assert_eq!(pairs.add("0".into(), Half::Error, 1, now), None);
        assert_eq!(pairs.add("1".into(), Half::Data, 5, now), None);
        let (data, error) = (3, 1);
        let both = Some(Pair { data, error });
        assert_eq!(pairs.add("0".into(), Half::Data, 3, now), both);
        let (data, error) = (5, 7);
        let both = Some(Pair { data, error });
        assert_eq!(pairs.add("1".into(), Half::Error, 7, now), both);
    }

    #[test]
    fn a_second_half_of_the_same_kind_is_seen() {
        let mut pairs = Pairs::new();
        pairs.add("0".into(), Half::Error, 1, Instant::now());
        assert!(pairs.has("0", Half::Error));
        assert!(!pairs.has("0", Half::Data));
        assert!(!pairs.has("1", Half::Error));
    }

    #[test]
    fn a_half_does_not_wait_for_ever() {
        let mut pairs = Pairs::new();
        let timeout = Duration::from_secs(30);
        let now = Instant::now();
        pairs.add("0".into(), Half::Error, 1, now);
        assert!(pairs.expired(now, timeout).is_empty());
        assert_eq!(pairs.expired(now + timeout, timeout), [1]);
        assert!(pairs.expired(now + timeout, timeout).is_empty());
    }
}
