//! From a layer's compressed bytes to its blob, on a thread of its own.

use std::io::{self, BufRead, BufReader, BufWriter, Cursor, Read};

use bytes::{Buf, Bytes};
use erofs_image::{ImageUuid, LayerError, LayerOptions, LayerSummary, Limits, convert_layer};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::Receiver;

use crate::digest::Digest;
use crate::store::Ingest;

const BUFFER_BYTES: usize = 256 << 10;

/// What the download sends.
pub(super) enum Feed {
    /// More of the layer.
    Bytes(Bytes),
    /// That was all, and its digest is right.
    End,
}

/// What a layer must turn out to be.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) diff_id: Digest,
    pub(super) max_bytes: u64,
}

/// Why a layer did not become a blob.
#[derive(Debug)]
pub(super) enum ConvertError {
    /// The download ended before its end; it knows why.
    Cut,
    /// Not a layer, or the disk is full.
    Layer(LayerError),
    /// Not this layer.
    DiffId(Digest),
    /// More than allowed.
    TooLarge,
}

/// Writes the blob of the layer that comes through `feed`. Returns only after the download has
/// vouched for all of it.
pub(super) fn convert(
    feed: Receiver<Feed>,
    ingest: Ingest,
    expected: &Expected,
) -> Result<(Ingest, LayerSummary), ConvertError> {
    let mut source = Source {
        feed,
        chunk: Bytes::new(),
        end: None,
    };
    let mut output = BufWriter::with_capacity(BUFFER_BYTES, ingest);
    let converted = convert_from(&mut source, &mut output, expected);
    if source.end == Some(End::Cut) {
        return Err(ConvertError::Cut);
    }
    let summary = converted?;
    // Bytes that no decompressor wanted still belong to the digest.
    io::copy(&mut source, &mut io::sink()).map_err(|_| ConvertError::Cut)?;
    let ingest = output
        .into_inner()
        .map_err(|error| ConvertError::Layer(LayerError::Write(error.into_error())))?;
    Ok((ingest, summary))
}

fn convert_from(
    source: &mut Source,
    output: &mut BufWriter<Ingest>,
    expected: &Expected,
) -> Result<LayerSummary, ConvertError> {
    let plain = decompress(source).map_err(|error| ConvertError::Layer(LayerError::Read(error)))?;
    let mut tar = Hashed {
        inner: plain,
        hash: Sha256::new(),
        left: expected.max_bytes,
    };
    let options = LayerOptions {
        uuid: ImageUuid::from_sha256(expected.diff_id.as_bytes()),
        // Several conversions run at once; a hostile layer must not take a gigabyte each.
        limits: Limits {
            max_tree_bytes: 256 << 20,
            ..Limits::default()
        },
    };
    let converted = convert_layer(&mut tar, output, &options);
    if tar.left == 0 {
        return Err(ConvertError::TooLarge);
    }
    let summary = converted.map_err(ConvertError::Layer)?;
    match Digest::finish(tar.hash) {
        found if found == expected.diff_id => Ok(summary),
        found => Err(ConvertError::DiffId(found)),
    }
}

/// The uncompressed layer. Media types lie about compression now and then; the first bytes don't.
fn decompress<'a>(source: &'a mut Source) -> io::Result<Box<dyn Read + 'a>> {
    let mut head = Vec::new();
    source.by_ref().take(4).read_to_end(&mut head)?;
    let magic: [u8; 4] = head.as_slice().try_into().unwrap_or_default();
    let whole = BufReader::with_capacity(BUFFER_BYTES, Read::chain(Cursor::new(head), source));
    Ok(match magic {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        // A frame, or a skippable frame before one.
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => zstd_reader(whole)?,
        _ => Box::new(whole),
    })
}

fn zstd_reader<'a>(whole: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
    // 128 MiB, as the zstd tool: a frame may ask for more memory than that.
    decoder.window_log_max(27)?;
    Ok(Box::new(decoder))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Verified,
    Cut,
}

/// The compressed layer, as it arrives.
struct Source {
    feed: Receiver<Feed>,
    chunk: Bytes,
    end: Option<End>,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match (self.end, buffer.is_empty()) {
                (Some(End::Verified), _) | (None, true) => return Ok(0),
                (Some(End::Cut), _) => return Err(io::ErrorKind::ConnectionAborted.into()),
                (None, false) => match self.feed.blocking_recv() {
                    Some(Feed::Bytes(chunk)) => self.chunk = chunk,
                    Some(Feed::End) => self.end = Some(End::Verified),
                    None => self.end = Some(End::Cut),
                },
            }
        }
        let len = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..len]);
        Ok(len)
    }
}

/// The uncompressed layer, with its digest so far, up to a limit.
struct Hashed<R> {
    inner: R,
    hash: Sha256,
    /// Bytes that it may still have; 0 when it had too many.
    left: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.hash.update(&buffer[..len]);
        self.left = self.left.saturating_sub(len as u64);
        if self.left == 0 {
            Err(io::ErrorKind::FileTooLarge.into())
        } else {
            Ok(len)
        }
    }
}
