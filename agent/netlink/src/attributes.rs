//! Reading what the kernel writes: fixed headers, and attributes behind them.

/// Flag of attributes that hold attributes.
const NESTED: u16 = 0x8000;
/// Flag of attributes in network byte order.
const NET_BYTEORDER: u16 = 0x4000;

/// The attributes in some bytes: kind and content of each. Ends at the first that is cut off.
#[derive(Clone, Debug)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Those in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The content of the first of this kind.
    pub fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.clone()
            .find(|(found, _)| *found == kind)
            .map(|(_, content)| content)
    }

    /// The same, as a number of 32 bits.
    pub fn get_u32(&self, kind: u16) -> Option<u32> {
        let bytes = self.get(kind)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    }

    /// The same, as text that ends with a zero.
    pub fn get_text(&self, kind: u16) -> Option<String> {
        let bytes = self.get(kind)?;
        let end = bytes.iter().position(|byte| *byte == 0);
        let text = &bytes[..end.unwrap_or(bytes.len())];
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & !(NESTED | NET_BYTEORDER);
        let content = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, content))
    }
}

/// The number of 16 bits at `offset`.
pub fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

/// The number of 64 bits at `offset`.
pub fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*bytes))
}

/// The number of 32 bits at `offset`.
pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attributes_are_padded_to_four_bytes() {
        let bytes = [5, 0, 1, 0, 7, 0, 0, 0, 8, 0, 2, 0x80, 1, 0, 0, 0];
        let attributes = Attributes::new(&bytes);
        assert_eq!(attributes.clone().count(), 2);
        assert_eq!(attributes.get(1), Some(&[7][..]));
        assert_eq!(attributes.get_u32(2), Some(1));
        assert_eq!(attributes.get_u32(1), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_reading_it_ends(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(Attributes::new(&bytes).count() <= bytes.len() / 4);
        }
    }
}
