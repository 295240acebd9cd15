//! A stranger's text in an error or a log.

/// Most characters of a stranger's text in an error or a log.
const EXCERPT: usize = 500;

/// A stranger's text, so that it can go to a log: on one line, printable, not too long.
pub(crate) fn excerpt(text: &[u8]) -> String {
    // Four bytes a character at most, and some that are dropped.
    let text = String::from_utf8_lossy(&text[..text.len().min(EXCERPT * 8)]);
    let words = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_strangers_text_becomes_one_short_printable_line(bytes: Vec<u8>) {
            let line = excerpt(&bytes);
            prop_assert!(line.chars().count() <= EXCERPT + 1);
            prop_assert!(!line.chars().any(char::is_control));
        }
    }

    #[test]
    fn megabytes_are_cut() {
        assert_eq!(excerpt(&vec![b'x'; 1 << 20]).chars().count(), EXCERPT + 1);
    }
}
