//! How much of what a container leaves for those who ask why it ended travels with its end.

/// As much as the kubelet reads of a termination message.
pub const MOST_BYTES: usize = 4096;

/// The part of `words` that counts: its end.
pub fn end(words: &[u8]) -> &[u8] {
    &words[words.len().saturating_sub(MOST_BYTES)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_is_too_long_counts() {
        assert_eq!(end(b"why"), b"why");
        let long = [&[b'x'; MOST_BYTES][..], b"why"].concat();
        assert_eq!(end(&long).len(), MOST_BYTES);
        assert!(end(&long).ends_with(b"xwhy"));
    }
}
