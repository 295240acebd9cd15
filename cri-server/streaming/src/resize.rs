//! Terminal sizes as clients send them: JSON objects, one after the other.

use serde::Deserialize;
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::sync::mpsc;

/// Most bytes of an object that is not complete.
const OBJECT_MAX: usize = 1024;

/// `{"Width":80,"Height":24}`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

/// Bytes that are no terminal size.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("what the client sends is no terminal size")]
pub(crate) struct NoSize;

/// Finds sizes in a stream of bytes.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    pending: Vec<u8>,
}

impl Sizes {
    /// The last size as (columns, rows) that `bytes` complete, if any. Zeros mean that the client does
    /// not know.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Option<(u16, u16)>, NoSize> {
        self.pending.extend_from_slice(bytes);
        let mut objects = serde_json::Deserializer::from_slice(&self.pending).into_iter::<Size>();
        let mut last = None;
        let mut used = 0;
        while let Some(object) = objects.next() {
            match object {
                Ok(size) => {
                    used = objects.byte_offset();
                    if size.width > 0 && size.height > 0 {
                        last = Some((size.width, size.height));
                    }
                }
                Err(error) if error.is_eof() => break,
                Err(_) => return Err(NoSize),
            }
        }
        self.pending.drain(..used);
        if self.pending.len() > OBJECT_MAX {
            return Err(NoSize);
        }
        Ok(last)
    }
}

/// Passes sizes on until the client sends no more, or nonsense.
pub(crate) async fn pass_on(mut inbox: DuplexStream, resize: &mpsc::Sender<(u16, u16)>) {
    let mut sizes = Sizes::default();
    let mut bytes = [0; 512];
    while let Ok(read @ 1..) = inbox.read(&mut bytes).await {
        match sizes.push(&bytes[..read]) {
            Ok(Some(size)) if resize.send(size).await.is_err() => return,
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "the terminal keeps its size from now on");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_found_however_they_are_cut() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.push(b"{\"Width\":8"), Ok(None));
        assert_eq!(sizes.push(b"0,\"Height\":24}\n"), Ok(Some((80, 24))));
        let two = br#"{"Width":1,"Height":2}{"Width":3,"Height":4}"#;
        assert_eq!(sizes.push(two), Ok(Some((3, 4))));
        assert_eq!(sizes.push(br#"{"Width":0,"Height":0}"#), Ok(None));
    }

    #[test]
    fn nonsense_and_endless_objects_are_no_sizes() {
        assert_eq!(Sizes::default().push(b"80x24"), Err(NoSize));
        let large = br#"{"Width":70000,"Height":1}"#;
        assert_eq!(Sizes::default().push(large), Err(NoSize));
        let mut sizes = Sizes::default();
        assert_eq!(sizes.push(&[b' '; 100]), Ok(None));
        assert_eq!(sizes.push(b"{"), Ok(None));
        assert_eq!(sizes.push(&[b' '; OBJECT_MAX]), Err(NoSize));
    }
}
