//! The identity written into a file system's superblock.

/// A UUID that depends only on what the file system holds, so that a blob is the same on every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImageUuid([u8; 16]);

impl ImageUuid {
    /// The UUID of the content with this SHA-256: its diffID for a layer, its chainID for an image.
    ///
    /// RFC 9562 version 8 (the application's own scheme): the digest's first 122 bits.
    pub fn from_sha256(digest: &[u8; 32]) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes as they stand in the superblock.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}
