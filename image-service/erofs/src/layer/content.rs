//! A file's bytes on their way from the tar into the blob.

use std::io::{Read, Seek, Write};

use super::archive::Archive;
use super::entry::Runs;
use super::error::LayerError;
use crate::block_writer::BlockWriter;
use crate::limits::LimitExceeded;
use crate::tree::Content;
use crate::{BLOCK_SIZE, Limits};

/// That a blob of `position` bytes may grow by this file, holes included.
pub(super) fn check_room(runs: &Runs, position: u64, limits: &Limits) -> Result<(), LimitExceeded> {
    let end = position
        .saturating_add(BLOCK_SIZE)
        .saturating_add(runs.size);
    let max = u64::from(limits.max_blocks);
    LimitExceeded::check("blocks", end.div_ceil(BLOCK_SIZE), max)
}

/// Copies a file's runs to where they belong, and leaves holes between them.
pub(super) fn write_content<R: Read, W: Write + Seek>(
    runs: &Runs,
    archive: &mut Archive<R>,
    blob: &mut BlockWriter<W>,
) -> Result<Content, LayerError> {
    if runs.size == 0 {
        return Ok(Content {
            layer: 0,
            block: 0,
            size: 0,
        });
    }
    let block = blob.align().map_err(LayerError::Write)?;
    let start = blob.position();
    for run in &runs.runs {
        blob.skip(start + run.offset - blob.position())
            .map_err(LayerError::Write)?;
        let mut left = run.length;
        while left > 0 {
            let piece = archive.content()?;
            let count = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
            blob.write(&piece[..count]).map_err(LayerError::Write)?;
            archive.consume(count);
            left -= count as u64;
        }
    }
    blob.skip(start + runs.size - blob.position())
        .map_err(LayerError::Write)?;
    let block = u32::try_from(block).expect("check_room keeps within max_blocks, a u32");
    Ok(Content {
        layer: 0,
        block,
        size: runs.size,
    })
}
