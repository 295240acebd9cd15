//! A disk's serial number (`VIRTIO_BLK_T_GET_ID`).

/// Up to 20 printable ASCII bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialNumber([u8; Self::SIZE]);

/// A text is no serial number.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("serial number {0:?} is not 1 to 20 printable ASCII characters")]
pub struct SerialNumberError(String);

impl SerialNumber {
    /// Length on the wire; what is shorter ends with zeros.
    pub const SIZE: usize = 20;

    /// As a guest reads it.
    pub fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }
}

impl std::str::FromStr for SerialNumber {
    type Err = SerialNumberError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let printable = text.bytes().all(|b| b.is_ascii_graphic());
        if text.is_empty() || text.len() > Self::SIZE || !printable {
            return Err(SerialNumberError(text.to_owned()));
        }
        let mut bytes = [0; Self::SIZE];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_short_and_printable() {
        assert_eq!(
            "img".parse::<SerialNumber>().unwrap().as_bytes()[..4],
            *b"img\0"
        );
        assert!("12345678901234567890".parse::<SerialNumber>().is_ok());
        for bad in ["", "123456789012345678901", "a b", "é"] {
            assert!(bad.parse::<SerialNumber>().is_err(), "{bad:?}");
        }
    }
}
