//! The stream of a tar: headers go through the parser, content through the caller.

use std::io::Read;

use tar_core::parse::{ParseEvent, Parser};
use tar_core::{EntryType, HEADER_SIZE, Header};

use super::entry::Entry;
use super::error::{LayerError, TarFault};
use super::window::Window;
use crate::Limits;
use crate::limits::LimitExceeded;

/// Reads entries one after the other.
#[derive(Debug)]
pub(super) struct Archive<R> {
    window: Window<R>,
    parser: Parser,
    limits: Limits,
    /// Content of the current entry that nobody has read.
    content: u64,
    /// Zeros after that content.
    padding: u64,
}

impl<R: Read> Archive<R> {
    /// Sparse maps and chained headers come on top of the records that the parser bounds.
    const HEADER_SLACK: usize = 1 << 20;

    pub(super) fn new(tar: R, limits: &Limits) -> Self {
        let mut parser = Parser::new(tar_core::parse::Limits {
            max_metadata_size: limits.max_header_bytes,
            max_path_len: None,
            max_sparse_entries: limits.max_sparse_runs,
            ..tar_core::parse::Limits::default()
        });
        // PaxRecords reads the same records strictly, but allows for times before 1970.
        parser.set_ignore_pax_errors(true);
        parser.set_allow_empty_path(true);
        let window = Window::new(tar);
        Self {
            window,
            parser,
            limits: limits.clone(),
            content: 0,
            padding: 0,
        }
    }

    /// The next file of the archive, whatever is left of the last one being passed over.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry>, LayerError> {
        self.skip_content()?;
        let mut wanted = HEADER_SIZE;
        loop {
            let offset = self.window.consumed();
            let header = |error| LayerError::Header {
                offset,
                source: TarFault::new(&error),
            };
            let bytes = self.window.fill(wanted).map_err(LayerError::Read)?;
            let had = bytes.len();
            check_sizes(bytes).map_err(|source| LayerError::Header { offset, source })?;
            let event = self.parser.parse(bytes).map_err(header)?;
            let (consumed, entry) = match event {
                ParseEvent::NeedData { min_bytes } => {
                    if had < wanted {
                        return self.end_of_stream();
                    }
                    wanted = self.larger(min_bytes, had)?;
                    continue;
                }
                // Defaults for later entries. No runtime applies them, so neither do we.
                ParseEvent::GlobalExtensions { consumed, .. } => (consumed, None),
                ParseEvent::Entry { consumed, entry } => {
                    (consumed, Some(Entry::new(&entry, None, &self.limits)?))
                }
                ParseEvent::SparseEntry {
                    consumed,
                    entry,
                    sparse_map,
                    real_size,
                } => {
                    let sparse = Some((sparse_map, real_size));
                    (consumed, Some(Entry::new(&entry, sparse, &self.limits)?))
                }
                ParseEvent::End { .. } => return Ok(None),
            };
            self.window.consume(consumed);
            wanted = HEADER_SIZE;
            if let Some(entry) = entry {
                self.content = entry.stored_bytes();
                self.padding = self.content.next_multiple_of(HEADER_SIZE as u64) - self.content;
                return Ok(Some(entry));
            }
        }
    }

    /// The next piece of the entry's content; empty at its end.
    pub(super) fn content(&mut self) -> Result<&[u8], LayerError> {
        if self.content == 0 {
            return Ok(&[]);
        }
        let available = self.window.fill(1).map_err(LayerError::Read)?.len();
        if available == 0 {
            return Err(self.truncated());
        }
        let piece = usize::try_from(self.content).map_or(available, |left| left.min(available));
        Ok(&self.window.bytes()[..piece])
    }

    /// Passes over `count` bytes of the last piece.
    pub(super) fn consume(&mut self, count: usize) {
        self.window.consume(count);
        self.content -= count as u64;
    }

    /// Reads the stream to its end and tells how long it was.
    pub(super) fn drain(mut self) -> Result<u64, LayerError> {
        loop {
            let rest = self.window.fill(1).map_err(LayerError::Read)?.len();
            if rest == 0 {
                return Ok(self.window.consumed());
            }
            self.window.consume(rest);
        }
    }

    fn skip_content(&mut self) -> Result<(), LayerError> {
        self.content += std::mem::take(&mut self.padding);
        loop {
            let piece = self.content()?.len();
            if piece == 0 {
                return Ok(());
            }
            self.consume(piece);
        }
    }

    /// Twice what was not enough, so that headers sent byte by byte are not parsed at each byte.
    fn larger(&self, needed: usize, had: usize) -> Result<usize, LayerError> {
        let max = self.limits.max_header_bytes as usize + Self::HEADER_SLACK;
        // Not only what is needed: the parser may ask for little, again and again.
        let least = needed.max(had + 1);
        LimitExceeded::check("bytes of headers for one entry", least as u64, max as u64)?;
        Ok(needed.max(had * 2).min(max))
    }

    /// The stream may end where an entry could begin, as it may for Go: not every tool writes an end mark.
    fn end_of_stream<T>(&self) -> Result<Option<T>, LayerError> {
        let rest = self.window.bytes();
        if rest.is_empty() || (rest.len() == HEADER_SIZE && rest.iter().all(|byte| *byte == 0)) {
            return Ok(None);
        }
        Err(self.truncated())
    }

    fn truncated(&self) -> LayerError {
        LayerError::Truncated {
            bytes: self.window.consumed() + self.window.bytes().len() as u64,
        }
    }
}

/// Refuses sizes of 2^62 and more in the chain of headers that `bytes` begins with: the parser adds them
/// up, and drops what does not fit 64 bits.
fn check_sizes(mut bytes: &[u8]) -> Result<(), TarFault> {
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER_SIZE>() {
        let header = Header::from_bytes(header);
        let size = header.as_ustar().size;
        let is_binary = size[0] & 0x80 != 0;
        if is_binary && (size[..4] != [0x80, 0, 0, 0] || size[4] >= 0x40) {
            return Err(TarFault::SIZE);
        }
        let content = match header.entry_type() {
            EntryType::GnuLongName | EntryType::GnuLongLink | EntryType::XHeader => {
                header.entry_size().unwrap_or(u64::MAX)
            }
            _ if header.is_empty() => 0,
            _ => break,
        };
        let skip = content.checked_next_multiple_of(HEADER_SIZE as u64);
        let Some(skip) = skip.and_then(|skip| usize::try_from(skip).ok()) else {
            break;
        };
        bytes = rest.get(skip..).unwrap_or_default();
    }
    Ok(())
}
