//! `Hello`: settles which protocol is spoken.

use agent_api::v1::{HelloReply, HelloRequest};
use agent_api::version::{OLDEST, PROTOCOL};

use crate::Error;
use crate::mode::{Mode, version};

/// The newest protocol that both know.
pub(super) fn hello(mode: Mode, request: HelloRequest) -> Result<HelloReply, Error> {
    let protocol = choose(request.min, request.max).ok_or_else(|| {
        let (min, max) = (request.min, request.max);
        Error::Invalid(format!(
            "client speaks protocol {min} to {max}, this agent {OLDEST} to {PROTOCOL}"
        ))
    })?;
    Ok(HelloReply {
        protocol,
        build: version(),
        mode: mode.name().to_owned(),
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
    })
}

fn choose(min: u32, max: u32) -> Option<u32> {
    let newest = max.min(PROTOCOL);
    (newest >= min.max(OLDEST)).then_some(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_protocol_that_both_know_is_spoken() {
        assert_eq!(choose(OLDEST, PROTOCOL), Some(PROTOCOL));
        assert_eq!(choose(1, PROTOCOL + 5), Some(PROTOCOL));
        assert_eq!(choose(PROTOCOL + 1, PROTOCOL + 5), None);
        assert_eq!(choose(0, OLDEST - 1), None);
        assert_eq!(choose(5, 1), None);
    }
}
