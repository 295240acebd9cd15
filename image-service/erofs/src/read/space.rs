//! The block address space of an image: which file holds which byte.

use crate::BLOCK_SIZE;
use crate::format::BLOCK;
use crate::format::superblock::{BlobKind, Superblock, header_blocks};
use crate::layout::PlacedLayer;
use crate::read_at::ReadAt;

use super::error::ReadError;

/// Reads and checks the superblock of a blob made for `kind`, and the blob's length.
pub(crate) fn read_superblock(
    source: &impl ReadAt,
    kind: BlobKind,
) -> Result<Superblock, ReadError> {
    if source.size()? < BLOCK_SIZE {
        return Err(ReadError::Corrupt("is too short for a superblock"));
    }
    let mut first = [0; BLOCK];
    source.read_exact_at(&mut first, 0)?;
    let blocks = header_blocks(Superblock::device_count(&first));
    let mut header = vec![0; usize::try_from(blocks).expect("at most 65535 slots") * BLOCK];
    header[..BLOCK].copy_from_slice(&first);
    if header.len() as u64 > source.size()? {
        return Err(ReadError::Corrupt("has a truncated device table"));
    }
    source.read_exact_at(&mut header[BLOCK..], BLOCK_SIZE)?;
    let superblock = Superblock::decode(&header)?;
    if superblock.kind != kind {
        return Err(ReadError::Corrupt(
            "is a layer where an image is wanted, or the reverse",
        ));
    }
    Ok(superblock)
}

/// The files of an image, addressed as one.
#[derive(Debug)]
pub(super) struct Space<S> {
    primary: S,
    /// Length of the primary file, which holds all metadata.
    bytes: u64,
    layers: Vec<(PlacedLayer, S)>,
    /// A piece of the primary file kept in memory, and where it begins.
    resident: Option<(u64, Vec<u8>)>,
}

impl<S: ReadAt> Space<S> {
    pub(super) fn open(
        primary: S,
        blocks: u32,
        layers: impl Iterator<Item = (PlacedLayer, S)>,
    ) -> Result<Self, ReadError> {
        let layers: Vec<_> = layers.collect();
        check_length(&primary, blocks)?;
        for (place, layer) in &layers {
            check_length(layer, place.blocks)?;
        }
        let bytes = u64::from(blocks) * BLOCK_SIZE;
        Ok(Self {
            primary,
            bytes,
            layers,
            resident: None,
        })
    }

    /// The first byte behind everything.
    pub(super) fn end(&self) -> u64 {
        self.layers.last().map_or(self.bytes, |(place, _)| {
            (u64::from(place.base) + u64::from(place.blocks)) * BLOCK_SIZE
        })
    }

    /// Keeps the primary file from `start` on in memory.
    pub(super) fn keep(&mut self, start: u64) -> Result<(), ReadError> {
        let length = self
            .bytes
            .checked_sub(start)
            .and_then(|length| usize::try_from(length).ok());
        let mut bytes = vec![0; length.ok_or(OUTSIDE)?];
        self.primary.read_exact_at(&mut bytes, start)?;
        self.resident = Some((start, bytes));
        Ok(())
    }

    /// Reads from the primary file.
    pub(super) fn read_metadata(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        let end = offset.checked_add(buffer.len() as u64).ok_or(OUTSIDE)?;
        if end > self.bytes {
            return Err(OUTSIDE);
        }
        if let Some((start, bytes)) = &self.resident
            && let Some(from) = offset.checked_sub(*start)
        {
            bytes.read_exact_at(buffer, from)?;
        } else {
            self.primary.read_exact_at(buffer, offset)?;
        }
        Ok(())
    }

    /// Reads a file's content, which lies in one file only.
    pub(super) fn read_data(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        let end = offset.checked_add(buffer.len() as u64).ok_or(OUTSIDE)?;
        for (place, layer) in &self.layers {
            let start = u64::from(place.base) * BLOCK_SIZE;
            let length = u64::from(place.blocks) * BLOCK_SIZE;
            if offset >= start && end <= start + length {
                return Ok(layer.read_exact_at(buffer, offset - start)?);
            }
        }
        self.read_metadata(buffer, offset)
    }
}

const OUTSIDE: ReadError = ReadError::Corrupt("points outside of itself");

fn check_length(source: &impl ReadAt, blocks: u32) -> Result<(), ReadError> {
    let (expected, actual) = (u64::from(blocks) * BLOCK_SIZE, source.size()?);
    if expected == actual {
        Ok(())
    } else {
        Err(ReadError::Length { expected, actual })
    }
}
