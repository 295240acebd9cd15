//! What the multiplexer's event loop calls its descriptors.

use super::ports::Ports;

/// What a descriptor is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Host programs connect there.
    Listener,
    /// The clock by which we lose patience.
    Tick,
    /// A host program that has not said its port yet.
    Visitor(u16),
    /// The host end of a stream.
    Stream(Ports),
}

impl Token {
    /// No stream has host port 0, so those numbers are free for the rest.
    pub(super) const fn encode(self) -> u64 {
        match self {
            Self::Listener => 0,
            Self::Tick => 1,
            Self::Visitor(id) => 2 + id as u64,
            Self::Stream(ports) => (ports.host as u64) << 32 | ports.guest as u64,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "parts of a number are meant"
    )]
    pub(super) const fn decode(token: u64) -> Self {
        match (token >> 32, token) {
            (0, 0) => Self::Listener,
            (0, 1) => Self::Tick,
            (0, id) => Self::Visitor((id - 2) as u16),
            (host, guest) => Self::Stream(Ports {
                host: host as u32,
                guest: guest as u32,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_means_one_thing() {
        let stream = |host, guest| Token::Stream(Ports { host, guest });
        for token in [
            Token::Listener,
            Token::Tick,
            Token::Visitor(0),
            Token::Visitor(u16::MAX),
            stream(1, 0),
            stream(u32::MAX, u32::MAX),
        ] {
            assert_eq!(Token::decode(token.encode()), token);
        }
    }
}
