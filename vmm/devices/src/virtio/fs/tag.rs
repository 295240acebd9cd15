//! The name that a guest mounts a file system by.

use std::fmt;
use std::str::FromStr;

/// Bytes of the field in the device's configuration.
const FIELD: usize = 36;

/// A name of 1 to 36 bytes, without zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag([u8; FIELD], usize);

/// A tag that can't be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tag {0:?} is not 1 to {FIELD} bytes without zeros")]
pub struct TagError(String);

impl Tag {
    /// As the configuration holds it: with zeros at its end.
    pub(super) fn bytes(&self) -> &[u8; FIELD] {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        let mut field = [0; FIELD];
        match field.get_mut(..text.len()) {
            Some(place) if !text.is_empty() && !text.contains('\0') => {
                place.copy_from_slice(text.as_bytes());
                Ok(Self(field, text.len()))
            }
            _ => Err(TagError(text.to_owned())),
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0[..self.1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_fits_its_field() {
        let longest = "t".repeat(FIELD);
        assert_eq!(longest.parse::<Tag>().unwrap().to_string(), longest);
        for bad in ["", "a\0b", &"t".repeat(FIELD + 1)] {
            assert!(bad.parse::<Tag>().is_err(), "{bad:?}");
        }
    }
}
