//! The frames of a log connection, taken apart as they trickle in.

use cri_log::Stream;

/// Length of the length.
const LENGTH: usize = 4;
/// Kind, stream, length of the key.
const HEAD: usize = 4;
/// Most bytes of a key. Container ids have 64.
const MAX_KEY: usize = 256;
/// Most bytes of output in one frame.
const MAX_PAYLOAD: usize = 64 * 1024;

const DATA: u8 = 1;
const END: u8 = 2;
const ACKNOWLEDGED: u8 = 3;

/// What a frame, or a part of one, says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Output.
    Data(Stream),
    /// There will be no more.
    End,
}

/// A piece of a frame: long payloads come in several pieces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'b> {
    pub(super) kind: Kind,
    pub(super) key: &'b str,
    pub(super) payload: &'b [u8],
}

/// What the guest sent is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("log frame of {0} bytes")]
    Length(usize),
    #[error("log frame of kind {kind} and stream {stream}")]
    Kind { kind: u8, stream: u8 },
    #[error("log frame with a key of {0} bytes, or one that is not text")]
    Key(usize),
}

/// The unfinished frame. Holds at most a head and a key; payload passes through.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: Vec<u8>,
    open: Option<Open>,
}

/// A frame whose head has been read.
#[derive(Debug)]
struct Open {
    kind: Kind,
    key: String,
    payload_left: usize,
}

impl Frames {
    /// Takes `bytes`, which follow what came before, and hands on what they complete. After an error
    /// the stream can't be understood any more.
    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(Frame<'_>),
    ) -> Result<(), Malformed> {
        loop {
            let Some(open) = &mut self.open else {
                bytes = self.collect_head(bytes)?;
                if self.open.is_none() {
                    return Ok(());
                }
                continue;
            };
            bytes = open.pass(bytes, &mut take);
            if open.payload_left == 0 {
                self.open = None;
            }
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Takes what belongs to the head and the key from `bytes`, and returns the rest.
    fn collect_head<'b>(&mut self, mut bytes: &'b [u8]) -> Result<&'b [u8], Malformed> {
        bytes = self.fill(bytes, LENGTH + HEAD);
        let Some(layout) = Layout::of(&self.head)? else {
            return Ok(bytes);
        };
        bytes = self.fill(bytes, LENGTH + HEAD + layout.key);
        if self.head.len() == LENGTH + HEAD + layout.key {
            let key = &self.head[LENGTH + HEAD..];
            let key = str::from_utf8(key).map_err(|_| Malformed::Key(layout.key))?;
            self.open = Some(Open {
                kind: layout.kind,
                key: key.to_owned(),
                payload_left: layout.payload,
            });
            self.head.clear();
        }
        Ok(bytes)
    }

    fn fill<'b>(&mut self, bytes: &'b [u8], to: usize) -> &'b [u8] {
        let missing = to.saturating_sub(self.head.len()).min(bytes.len());
        let (taken, rest) = bytes.split_at(missing);
        self.head.extend_from_slice(taken);
        rest
    }
}

impl Open {
    /// Hands on the payload in `bytes` and returns what comes after it.
    fn pass<'b>(&mut self, bytes: &'b [u8], take: &mut impl FnMut(Frame<'_>)) -> &'b [u8] {
        let (payload, rest) = bytes.split_at(self.payload_left.min(bytes.len()));
        self.payload_left -= payload.len();
        let whole = self.payload_left == 0;
        if matches!(self.kind, Kind::Data(_)) || whole {
            take(Frame {
                kind: self.kind,
                key: &self.key,
                payload,
            });
        }
        rest
    }
}

/// What a head announces.
struct Layout {
    kind: Kind,
    key: usize,
    payload: usize,
}

impl Layout {
    /// `None` while the head is incomplete.
    fn of(head: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some(&[l0, l1, l2, l3, kind, stream, k0, k1]) = head.first_chunk() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let key = usize::from(u16::from_le_bytes([k0, k1]));
        if !(HEAD..=HEAD + MAX_KEY + MAX_PAYLOAD).contains(&length) {
            return Err(Malformed::Length(length));
        }
        let payload = match (length - HEAD).checked_sub(key) {
            Some(payload) if key <= MAX_KEY && payload <= MAX_PAYLOAD => payload,
            _ => return Err(Malformed::Key(key)),
        };
        let kind = match (kind, stream) {
            (DATA, 1) => Kind::Data(Stream::Stdout),
            (DATA, 2) => Kind::Data(Stream::Stderr),
            (END, _) => Kind::End,
            _ => return Err(Malformed::Kind { kind, stream }),
        };
        Ok(Some(Self { kind, key, payload }))
    }
}

/// Appends the acknowledgement for `key` to `out`.
pub(super) fn acknowledge(key: &str, out: &mut Vec<u8>) {
    let key_len = u16::try_from(key.len()).expect("keys that are longer were refused");
    let length = u32::from(key_len) + u32::try_from(HEAD).expect("a small number");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[ACKNOWLEDGED, 0]);
    out.extend_from_slice(&key_len.to_le_bytes());
    out.extend_from_slice(key.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out of `bytes` when they arrive `step` at a time: kind, key and joined payload.
    fn frames(bytes: &[u8], step: usize) -> Result<Vec<(Kind, String, Vec<u8>)>, Malformed> {
        let mut frames = Frames::default();
        let mut out: Vec<(Kind, String, Vec<u8>)> = Vec::new();
        for chunk in bytes.chunks(step) {
            frames.push(chunk, |Frame { kind, key, payload }| match out.last_mut() {
                Some(last) if matches!(kind, Kind::Data(_)) && last.1 == key => {
                    last.2.extend_from_slice(payload);
                }
                _ => out.push((kind, key.to_owned(), payload.to_vec())),
            })?;
        }
        Ok(out)
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let bytes =
            b"\x0b\0\0\0\x01\x02\x02\0c1hello\x06\0\0\0\x02\0\x02\0c1\x04\0\0\0\x02\x01\0\0";
        for step in 1..=bytes.len() {
            let expected = [
                (
                    Kind::Data(Stream::Stderr),
                    "c1".to_owned(),
                    b"hello".to_vec(),
                ),
                (Kind::End, "c1".to_owned(), Vec::new()),
                (Kind::End, String::new(), Vec::new()),
            ];
            assert_eq!(frames(bytes, step).unwrap(), expected, "in steps of {step}");
        }
    }

    #[test]
    fn an_empty_data_frame_is_no_trouble() {
        let bytes = b"\x06\0\0\0\x01\x01\x02\0c1\x06\0\0\0\x02\0\x02\0c1";
        assert_eq!(frames(bytes, 3).unwrap().len(), 2);
    }

    #[track_caller]
    fn check_malformed(bytes: &[u8], expected: Malformed) {
        assert_eq!(frames(bytes, bytes.len()), Err(expected));
    }

    #[test]
    fn what_is_no_frame_is_refused_at_its_head() {
        check_malformed(&[3, 0, 0, 0, 1, 1, 0, 0], Malformed::Length(3));
        check_malformed(&[255; 8], Malformed::Length(u32::MAX as usize));
        check_malformed(&[4, 0, 0, 0, 1, 1, 1, 0], Malformed::Key(1));
        check_malformed(&[0, 8, 0, 0, 1, 1, 1, 1], Malformed::Key(257));
        check_malformed(
            &[4, 0, 0, 0, 7, 1, 0, 0],
            Malformed::Kind { kind: 7, stream: 1 },
        );
        check_malformed(
            &[4, 0, 0, 0, 1, 3, 0, 0],
            Malformed::Kind { kind: 1, stream: 3 },
        );
        check_malformed(&[5, 0, 0, 0, 2, 0, 1, 0, 0xff], Malformed::Key(1));
    }

    #[test]
    fn acknowledgements_name_the_container() {
        let mut out = Vec::new();
        acknowledge("c1", &mut out);
        assert_eq!(out, b"\x06\0\0\0\x03\0\x02\0c1");
    }
}
