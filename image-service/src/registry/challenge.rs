//! What a registry wants to see before it answers: its `WWW-Authenticate` headers.

use http_auth::ChallengeRef;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// A way to satisfy a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password in each request.
    Basic,
    /// A token from the service at `realm`.
    Bearer {
        /// URL of the token service.
        realm: String,
        /// The registry's name there.
        service: Option<String>,
        /// What the token must allow.
        scope: Option<String>,
    },
}

/// The strongest challenge that we understand: tokens before passwords.
pub(super) fn challenge_of(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers
        .get_all(WWW_AUTHENTICATE)
        .into_iter()
        .filter_map(|v| v.to_str().ok());
    let challenges: Vec<Challenge> = texts
        .flat_map(|text| http_auth::parse_challenges(text).unwrap_or_default())
        .filter_map(|challenge| understand(&challenge))
        .collect();
    let bearer = challenges
        .iter()
        .find(|c| matches!(c, Challenge::Bearer { .. }));
    bearer.or(challenges.first()).cloned()
}

fn understand(challenge: &ChallengeRef<'_>) -> Option<Challenge> {
    let param = |name: &str| {
        let found = challenge
            .params
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found
            .map(|(_, value)| value.to_unescaped())
            .filter(|value| !value.is_empty())
    };
    if challenge.scheme.eq_ignore_ascii_case("bearer") {
        let [service, scope] = [param("service"), param("scope")];
        return Some(Challenge::Bearer {
            realm: param("realm")?,
            service,
            scope,
        });
    }
    challenge
        .scheme
        .eq_ignore_ascii_case("basic")
        .then_some(Challenge::Basic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[&str], expected: Option<Challenge>) {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(WWW_AUTHENTICATE, header.parse().unwrap());
        }
        assert_eq!(challenge_of(&map), expected);
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let [service, scope] = [service, scope].map(|text| text.map(str::to_owned));
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service,
            scope,
        })
    }

    #[test]
    fn a_token_is_preferred_wherever_it_is_offered() {
        let expected = bearer(
            "https://a.example/t",
            Some("r"),
            Some("repository:x:pull,push"),
        );
        let text =
            r#"Bearer realm="https://a.example/t",service="r",scope="repository:x:pull,push""#;
        check(&[text], expected.clone());
        check(&[r#"Basic realm="x""#, text], expected.clone());
        check(&[&format!(r#"Basic realm="x", {text}"#)], expected);
    }

    #[test]
    fn schemes_and_names_ignore_case() {
        check(
            &[r#"bearer Realm="https://a.example""#],
            bearer("https://a.example", None, None),
        );
        check(&[r#"BASIC realm="x""#], Some(Challenge::Basic));
    }

    #[test]
    fn what_makes_no_sense_is_no_challenge() {
        check(&[], None);
        check(&["Negotiate"], None);
        check(&["Bearer service=\"x\""], None);
        check(&["Bearer realm=\"unclosed"], None);
    }
}
