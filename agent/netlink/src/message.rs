//! Writing what the kernel reads.

/// Length of `struct nlmsghdr`.
pub const HEADER: usize = 16;

const REQUEST: u16 = 0x0001;
const ACKNOWLEDGE: u16 = 0x0004;
const DUMP: u16 = 0x0300;

/// It must not be there yet.
pub const EXCLUSIVE: u16 = 0x0200;
/// It takes the place of what is there.
pub const REPLACE: u16 = 0x0100;
/// It is made if it isn't there.
pub const CREATE: u16 = 0x0400;

/// Flag of attributes that hold attributes.
const NESTED: u16 = 0x8000;

/// One request to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// A request of `kind` to change something, which starts with `fixed`.
    pub fn change(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        Self::new(kind, flags | REQUEST | ACKNOWLEDGE, fixed)
    }

    /// A request of `kind` for all there is.
    pub fn dump(kind: u16, fixed: &[u8]) -> Self {
        Self::new(kind, DUMP | REQUEST, fixed)
    }

    fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(fixed);
        let mut message = Self(bytes);
        message.pad();
        message
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, kind: u16, content: &[u8]) -> Self {
        self.push(kind, |message| message.0.extend_from_slice(content));
        self
    }

    /// Adds an attribute if there is one.
    #[must_use]
    pub fn with_some(self, kind: u16, content: Option<&[u8]>) -> Self {
        match content {
            Some(content) => self.with(kind, content),
            None => self,
        }
    }

    /// Adds an attribute that holds those that `fill` adds.
    #[must_use]
    pub fn nest(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        self.push(kind | NESTED, |message| {
            let inner = std::mem::replace(message, Self(Vec::new()));
            *message = fill(inner);
        });
        self
    }

    /// The message with its sequence number, ready to be sent.
    pub fn bytes(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).expect("messages are short");
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }

    fn push(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        fill(self);
        let length = u16::try_from(self.0.len() - start).expect("attributes are short");
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
        self.pad();
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Attributes;

    #[test]
    fn a_message_says_how_long_it_is_and_which() {
        let bytes = Message::change(16, CREATE, &[1, 2, 3]).bytes(7);
        assert_eq!(
            bytes,
            [20, 0, 0, 0, 16, 0, 5, 4, 7, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0]
        );
    }

    #[test]
    fn attributes_hold_attributes() {
        let bytes = Message::dump(1, &[])
            .nest(9, |inside| {
                inside.with(1, b"x").with(2, &5u32.to_ne_bytes())
            })
            .with_some(3, None)
            .with(4, &[])
            .bytes(0);
        let outer = Attributes::new(&bytes[HEADER..]);
        let kinds: Vec<_> = outer.clone().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [9, 4]);
        let inner = Attributes::new(outer.get(9).unwrap());
        assert_eq!(inner.get(1), Some(&b"x"[..]));
        assert_eq!(inner.get_u32(2), Some(5));
    }
}
