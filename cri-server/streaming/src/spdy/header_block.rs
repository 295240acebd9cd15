//! Header blocks: name and value pairs, compressed with one context per direction for a connection's life.

use bytes::Buf;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::dictionary;

/// Most bytes of one block once inflated.
pub(crate) const INFLATED_MAX: usize = 64 * 1024;
/// Most headers of one block.
pub(crate) const HEADERS_MAX: usize = 100;

/// Headers that can't be read. The context is lost with them, and so the connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    /// Not zlib, or not with the dictionary of SPDY/3.
    #[error("inflate headers")]
    Inflate(#[from] flate2::DecompressError),
    /// Small on the wire, large after.
    #[error("headers inflate to more than {INFLATED_MAX} bytes")]
    TooLong,
    /// Too many of them.
    #[error("{0} headers in a block")]
    TooMany(u32),
    /// Lengths that don't fit what is there.
    #[error("headers end in the middle")]
    Truncated,
    /// Not text.
    #[error("a header is not UTF-8")]
    NotText,
}

/// The headers of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first value of the header `name`, which is in lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, values) = self.0.iter().find(|(found, _)| found == name)?;
        values.split('\0').next()
    }

    /// Reads an inflated block.
    pub(crate) fn parse(mut block: &[u8]) -> Result<Self, HeaderError> {
        let count = block.try_get_u32().map_err(|_| HeaderError::Truncated)?;
        if count as usize > HEADERS_MAX {
            return Err(HeaderError::TooMany(count));
        }
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = take_text(&mut block)?.to_ascii_lowercase();
            headers.push((name, take_text(&mut block)?));
        }
        Ok(Self(headers))
    }
}

fn take_text(block: &mut &[u8]) -> Result<String, HeaderError> {
    let len = block.try_get_u32().map_err(|_| HeaderError::Truncated)? as usize;
    let (text, rest) = block.split_at_checked(len).ok_or(HeaderError::Truncated)?;
    *block = rest;
    String::from_utf8(text.to_vec()).map_err(|_| HeaderError::NotText)
}

/// The client's half of the compression.
#[derive(Debug)]
pub(crate) struct Inflater {
    context: Decompress,
    primed: bool,
}

impl Inflater {
    pub(crate) fn new() -> Self {
        Self {
            context: Decompress::new(true),
            primed: false,
        }
    }

    /// The headers in `block`.
    pub(crate) fn read(&mut self, block: &[u8]) -> Result<Headers, HeaderError> {
        Headers::parse(&self.inflate(block)?)
    }

    /// The bytes of `block`, which ends with a flush.
    fn inflate(&mut self, mut block: &[u8]) -> Result<Vec<u8>, HeaderError> {
        let mut inflated = Vec::with_capacity(1024);
        loop {
            let (before_in, before_out) = (self.context.total_in(), inflated.len());
            let step = self
                .context
                .decompress_vec(block, &mut inflated, FlushDecompress::Sync);
            let taken = self.context.total_in() - before_in;
            block.advance(usize::try_from(taken).expect("it takes no more than there is"));
            match step {
                Ok(Status::StreamEnd) => return Ok(inflated),
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() && !self.primed => {
                    self.context.set_dictionary(&dictionary())?;
                    self.primed = true;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            if inflated.len() < inflated.capacity() {
                let stuck = taken == 0 && inflated.len() == before_out;
                if block.is_empty() || stuck {
                    return Ok(inflated);
                }
            } else if inflated.len() >= INFLATED_MAX {
                return Err(HeaderError::TooLong);
            } else {
                inflated.reserve_exact(inflated.len());
            }
        }
    }
}

/// Our half of the compression.
#[derive(Debug)]
pub(crate) struct Deflater(Compress);

impl Deflater {
    pub(crate) fn new() -> Self {
        let mut context = Compress::new(Compression::fast(), true);
        context
            .set_dictionary(&dictionary())
            .expect("nothing was compressed yet");
        Self(context)
    }

    /// A block with `headers`.
    pub(crate) fn write(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut plain = Vec::new();
        let put_len = |plain: &mut Vec<u8>, len: usize| {
            let len = u32::try_from(len).expect("headers of ours are short");
            plain.extend_from_slice(&len.to_be_bytes());
        };
        put_len(&mut plain, headers.len());
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            put_len(&mut plain, text.len());
            plain.extend_from_slice(text.as_bytes());
        }
        self.deflate(&plain)
    }

    fn deflate(&mut self, mut plain: &[u8]) -> Vec<u8> {
        let mut block = Vec::with_capacity(plain.len() + 64);
        loop {
            let before = self.0.total_in();
            self.0
                .compress_vec(plain, &mut block, FlushCompress::Sync)
                .expect("compression of ours does not fail");
            let taken = self.0.total_in() - before;
            plain.advance(usize::try_from(taken).expect("it takes no more than there is"));
            if plain.is_empty() && block.len() < block.capacity() {
                return block;
            }
            block.reserve(64);
        }
    }
}

#[cfg(test)]
mod tests;
