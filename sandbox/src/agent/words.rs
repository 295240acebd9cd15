//! Words of an agent in errors of ours: bounded, on one line, and of the right kind.

use agent_api::client;

use crate::{Error, Kind};

/// More than this nobody reads in an error.
const LONGEST: usize = 1024;

/// A call that the agent refused or never answered.
pub(crate) fn refused(error: client::Error) -> Error {
    let kind = kind(error.code());
    match error.words().map(quoted) {
        Some(words) => Error::caused(kind, error.to_string(), words),
        None => Error::caused(kind, "drive the pod's agent", error),
    }
}

/// Text from elsewhere, made harmless: one line of printable characters, not too long.
pub(crate) fn quoted(text: &str) -> String {
    let mut line: String = text
        .chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    line
}

fn kind(code: tonic::Code) -> Kind {
    use tonic::Code as C;
    match code {
        C::InvalidArgument | C::OutOfRange => Kind::Invalid,
        C::NotFound => Kind::NotFound,
        C::AlreadyExists => Kind::AlreadyExists,
        C::FailedPrecondition => Kind::WrongState,
        C::ResourceExhausted => Kind::NoSpace,
        C::Unimplemented => Kind::Unsupported,
        C::DeadlineExceeded => Kind::TimedOut,
        C::Unavailable => Kind::Unavailable,
        _ => Kind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_words_are_one_bounded_line() {
        assert_eq!(quoted("no\nsuch\x1b[31m file"), "no such [31m file");
        let long = quoted(&"x".repeat(100_000));
        assert_eq!(long.chars().count(), LONGEST + 1);
    }

    #[test]
    fn a_refusal_keeps_its_kind_and_its_words() {
        let status = tonic::Status::not_found("container c1: unknown");
        let error = refused(client::Error::Refused {
            doing: "start container",
            source: Box::new(status),
        });
        assert_eq!(error.kind(), Kind::NotFound);
        assert_eq!(
            error.chain(),
            "agent: start container: container c1: unknown"
        );
    }
}
