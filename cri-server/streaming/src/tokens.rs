//! Tokens: each opens one session, once, for a while.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::time::Instant;

use crate::request::{Kind, Request, RequestError};

/// Random bytes of a token: too many to guess, however long one tries.
const RANDOM: usize = 18;

/// The tokens whose clients have not come yet.
#[derive(Debug)]
pub(crate) struct Tokens {
    waiting: Mutex<HashMap<String, Waiting>>,
    timeout: Duration,
    most: usize,
}

#[derive(Debug)]
struct Waiting {
    request: Request,
    until: Instant,
}

impl Tokens {
    /// None yet; each is good for `timeout`, and there are never more than `most`.
    pub(crate) fn new(timeout: Duration, most: usize) -> Self {
        Self {
            waiting: Mutex::new(HashMap::new()),
            timeout,
            most,
        }
    }

    /// A new token for `request`.
    pub(crate) fn issue(&self, request: Request, now: Instant) -> Result<String, RequestError> {
        let mut waiting = self.waiting.lock();
        waiting.retain(|_, entry| entry.until > now);
        if waiting.len() >= self.most {
            return Err(RequestError::TooMany);
        }
        let token = random();
        let until = now + self.timeout;
        waiting.insert(token.clone(), Waiting { request, until });
        Ok(token)
    }

    /// What the token stands for. It is used up with this, unless it is of another kind.
    pub(crate) fn redeem(&self, kind: Kind, token: &str, now: Instant) -> Option<Request> {
        let mut waiting = self.waiting.lock();
        if waiting.get(token)?.request.kind() != kind {
            return None;
        }
        let entry = waiting.remove(token)?;
        (entry.until > now).then_some(entry.request)
    }
}

fn random() -> String {
    let mut bytes = [0; RANDOM];
    // Never short for so few bytes, and never fails once the kernel has any randomness (getrandom(2)).
    let filled = getrandom(&mut bytes, GetRandomFlags::empty()).expect("the kernel has randomness");
    assert_eq!(filled, RANDOM, "few bytes come at once");
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use cri_api::v1::ExecRequest;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn request() -> Request {
        Request::Exec(ExecRequest::default())
    }

    #[test]
    fn a_token_opens_one_session_once_and_only_for_its_kind() {
        let (tokens, now) = (Tokens::new(MINUTE, 10), Instant::now());
        let token = tokens.issue(request(), now).unwrap();
        assert_eq!(token.len(), 24);
        assert_ne!(token, tokens.issue(request(), now).unwrap());
        assert!(tokens.redeem(Kind::Attach, &token, now).is_none());
        assert!(tokens.redeem(Kind::Exec, "guessed", now).is_none());
        assert!(tokens.redeem(Kind::Exec, &token, now).is_some());
        assert!(tokens.redeem(Kind::Exec, &token, now).is_none());
    }

    #[test]
    fn a_token_is_worth_nothing_after_its_time() {
        let (tokens, now) = (Tokens::new(MINUTE, 10), Instant::now());
        let token = tokens.issue(request(), now).unwrap();
        assert!(tokens.redeem(Kind::Exec, &token, now + MINUTE).is_none());
    }

    #[test]
    fn there_are_never_too_many_tokens_and_old_ones_make_room() {
        let (tokens, now) = (Tokens::new(MINUTE, 2), Instant::now());
        tokens.issue(request(), now).unwrap();
        tokens.issue(request(), now).unwrap();
        let refused = tokens.issue(request(), now);
        assert_eq!(refused, Err(RequestError::TooMany));
        assert!(tokens.issue(request(), now + MINUTE).is_ok());
    }
}
