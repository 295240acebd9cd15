//! One stream's bytes, cut into lines.

/// Longest text of one log line; what is longer is split. The kubelet reads lines of this length.
pub const MAX_LINE: usize = 16 * 1024;

/// Whether a line's text ends where the container ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// The text goes on in the next line, or the container never ended it.
    Partial,
    /// The container wrote a newline here.
    Full,
}

/// The unfinished line of a stream. At most [`MAX_LINE`] bytes are held.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Cuts `bytes`, which follow what came before, and hands each line that they complete to `emit`.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut emit: impl FnMut(Tag, &[u8])) {
        while let Some((piece, tag, rest)) = self.next_piece(bytes) {
            if self.pending.is_empty() {
                emit(tag, piece);
            } else {
                self.pending.extend_from_slice(piece);
                emit(tag, &self.pending);
                self.pending.clear();
            }
            bytes = rest;
        }
        self.pending.extend_from_slice(bytes);
    }

    /// Hands over what is left. The container ended it without a newline.
    pub(crate) fn finish(&mut self, mut emit: impl FnMut(Tag, &[u8])) {
        if !self.pending.is_empty() {
            emit(Tag::Partial, &self.pending);
            self.pending = Vec::new();
        }
    }

    /// The part of `bytes` that ends a line, how it ends, and what follows it; `None` if none does.
    fn next_piece<'b>(&self, bytes: &'b [u8]) -> Option<(&'b [u8], Tag, &'b [u8])> {
        let room = MAX_LINE - self.pending.len();
        // One byte further than fits, so that a newline just behind a full line still ends it.
        let window = &bytes[..bytes.len().min(room + 1)];
        match window.iter().position(|&byte| byte == b'\n') {
            Some(end) => Some((&bytes[..end], Tag::Full, &bytes[end + 1..])),
            None if window.len() > room => Some((&bytes[..room], Tag::Partial, &bytes[room..])),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(chunks: &[&[u8]]) -> Vec<(Tag, Vec<u8>)> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for chunk in chunks {
            lines.push(chunk, |tag, text| out.push((tag, text.to_vec())));
        }
        lines.finish(|tag, text| out.push((tag, text.to_vec())));
        out
    }

    #[track_caller]
    fn check(chunks: &[&[u8]], expected: &[(Tag, &[u8])]) {
        let got = cut(chunks);
        let got: Vec<_> = got.iter().map(|(tag, text)| (*tag, &text[..])).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn lines_end_at_newlines() {
        check(&[b"a\nb\n"], &[(Tag::Full, b"a"), (Tag::Full, b"b")]);
        check(
            &[b"a", b"b", b"\n\n"],
            &[(Tag::Full, b"ab"), (Tag::Full, b"")],
        );
    }

    #[test]
    fn an_unterminated_last_line_is_partial() {
        check(&[b"a\nrest"], &[(Tag::Full, b"a"), (Tag::Partial, b"rest")]);
        check(&[b""], &[]);
    }

    #[test]
    fn a_line_of_exactly_the_longest_length_is_one_line() {
        let long = vec![b'x'; MAX_LINE];
        check(&[&long, b"\n"], &[(Tag::Full, &long)]);
        check(&[&[&long[..], b"\n"].concat()], &[(Tag::Full, &long)]);
    }

    #[test]
    fn a_longer_line_is_split() {
        let long = vec![b'x'; MAX_LINE + 1];
        check(
            &[&long, b"\n"],
            &[(Tag::Partial, &long[..MAX_LINE]), (Tag::Full, b"x")],
        );
    }

    proptest! {
        /// Joined as a reader joins them, the lines are the output, however it was chunked.
        #[test]
        fn no_byte_is_lost_or_added(
            chunks in proptest::collection::vec(
                (proptest::bool::weighted(0.3), 0..40_000usize), 0..12),
        ) {
            let chunks: Vec<Vec<u8>> = chunks
                .into_iter()
                .map(|(newline, len)| {
                    let mut chunk = vec![b'x'; len];
                    if newline { chunk.push(b'\n'); }
                    chunk
                })
                .collect();
            let slices: Vec<&[u8]> = chunks.iter().map(|chunk| &chunk[..]).collect();
            let mut joined = Vec::new();
            for (tag, text) in cut(&slices) {
                prop_assert!(text.len() <= MAX_LINE);
                joined.extend_from_slice(&text);
                if tag == Tag::Full { joined.push(b'\n'); }
            }
            prop_assert_eq!(joined, chunks.concat());
        }
    }
}
