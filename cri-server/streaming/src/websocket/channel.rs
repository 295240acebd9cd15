//! Channels: the first byte of a message says which stream the rest belongs to.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::Message;

/// Channels of exec and attach.
pub(crate) const STDIN: u8 = 0;
/// What the process prints.
pub(crate) const STDOUT: u8 = 1;
/// What it prints as errors.
pub(crate) const STDERR: u8 = 2;
/// How it ended.
pub(crate) const ERROR: u8 = 3;
/// Terminal sizes.
pub(crate) const RESIZE: u8 = 4;
/// Since v5: the channel that the next byte names ends.
const CLOSE: u8 = 255;

/// How channels and bytes become messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// A byte for the channel, then the bytes.
    Binary,
    /// The same, and 255 ends a channel: v5.
    BinaryWithClose,
    /// A digit for the channel, then the bytes in base64.
    Base64,
}

/// What a message from the client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Bytes for a channel.
    Bytes(u8, Bytes),
    /// Nothing more comes on a channel.
    End(u8),
    /// Nothing: an empty message, or one that is the protocol's own.
    Nothing,
}

/// A message that can't be decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    /// Not a digit, where a digit names the channel.
    #[error("a message that begins with byte {0}")]
    NoDigit(u8),
    /// Not base64.
    #[error("decode a message")]
    NotBase64(#[from] base64::DecodeError),
}

impl Encoding {
    /// `payload` as a message on `channel`.
    pub(crate) fn encode(self, channel: u8, payload: &[u8]) -> Message {
        match self {
            Self::Binary | Self::BinaryWithClose => {
                let mut bytes = BytesMut::with_capacity(1 + payload.len());
                bytes.put_u8(channel);
                bytes.put_slice(payload);
                Message::Binary(bytes.freeze())
            }
            Self::Base64 => {
                let mut text = String::from(char::from(b'0' + channel));
                STANDARD.encode_string(payload, &mut text);
                Message::text(text)
            }
        }
    }

    /// What `message` is.
    pub(crate) fn decode(self, message: Message) -> Result<Received, ChannelError> {
        let mut bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            _ => return Ok(Received::Nothing),
        };
        if bytes.is_empty() {
            return Ok(Received::Nothing);
        }
        let first = bytes.split_to(1)[0];
        match self {
            Self::Binary => Ok(Received::Bytes(first, bytes)),
            Self::BinaryWithClose if first == CLOSE => {
                let channel = bytes.first().copied();
                Ok(channel.map_or(Received::Nothing, Received::End))
            }
            Self::BinaryWithClose => Ok(Received::Bytes(first, bytes)),
            Self::Base64 => {
                let channel = first
                    .checked_sub(b'0')
                    .ok_or(ChannelError::NoDigit(first))?;
                Ok(Received::Bytes(channel, STANDARD.decode(&bytes)?.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn binary_messages_begin_with_the_channel() {
        let message = Encoding::Binary.encode(STDOUT, b"hi");
        assert_eq!(message, Message::binary(&b"\x01hi"[..]));
        let received = Encoding::Binary
            .decode(Message::binary(&b"\x00ls\n"[..]))
            .unwrap();
        assert_eq!(
            received,
            Received::Bytes(STDIN, Bytes::from_static(b"ls\n"))
        );
    }

    #[test]
    fn base64_messages_are_text_with_a_digit() {
        assert_eq!(
            Encoding::Base64.encode(STDERR, b"hi"),
            Message::text("2aGk=")
        );
        let received = Encoding::Base64.decode(Message::text("0bHMK")).unwrap();
        assert_eq!(
            received,
            Received::Bytes(STDIN, Bytes::from_static(b"ls\n"))
        );
        assert!(Encoding::Base64.decode(Message::text("0***")).is_err());
        assert!(Encoding::Base64.decode(Message::text("!bHMK")).is_err());
    }

    #[test]
    fn only_v5_ends_a_channel() {
        let close = || Message::binary(&[255u8, 0][..]);
        let ended = Encoding::BinaryWithClose.decode(close()).unwrap();
        assert_eq!(ended, Received::End(STDIN));
        let bytes = Encoding::Binary.decode(close()).unwrap();
        assert_eq!(bytes, Received::Bytes(255, Bytes::from_static(&[0])));
        let cut = Encoding::BinaryWithClose.decode(Message::binary(&[255u8][..]));
        assert_eq!(cut.unwrap(), Received::Nothing);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(channel in 0u8..255, payload: Vec<u8>) {
            for encoding in [Encoding::Binary, Encoding::BinaryWithClose, Encoding::Base64] {
                let channel = if encoding == Encoding::Base64 { channel % 10 } else { channel };
                let message = encoding.encode(channel, &payload);
                let expected = Received::Bytes(channel, payload.clone().into());
                prop_assert_eq!(encoding.decode(message).unwrap(), expected);
            }
        }
    }
}
