//! A blob being written front to back in large pieces.

use std::io::{self, Seek, SeekFrom, Write};

use crate::BLOCK_SIZE;
use crate::format::BLOCK;

const BUFFER: usize = 1 << 20;
/// Runs of zeros from here on become holes of the file underneath.
const MIN_HOLE: u64 = 64 << 10;

/// Buffers writes and knows where it is, in blocks.
#[derive(Debug)]
pub(crate) struct BlockWriter<W> {
    out: W,
    buffer: Vec<u8>,
    position: u64,
}

impl<W: Write + Seek> BlockWriter<W> {
    /// `out` is empty.
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            buffer: Vec::with_capacity(BUFFER),
            position: 0,
        }
    }

    /// Bytes written so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        if bytes.len() >= BUFFER {
            self.out.write_all(bytes)?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Leaves `count` bytes that read as zeros.
    ///
    /// Something must be written after them, or the file ends before them.
    pub(crate) fn skip(&mut self, count: u64) -> io::Result<()> {
        if count < MIN_HOLE {
            return self.zeros(count);
        }
        self.flush()?;
        let distance = i64::try_from(count).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.out.seek(SeekFrom::Current(distance))?;
        self.position += count;
        Ok(())
    }

    /// Writes zeros up to the next block, and tells its number.
    pub(crate) fn align(&mut self) -> io::Result<u64> {
        self.zeros(self.position.next_multiple_of(BLOCK_SIZE) - self.position)?;
        Ok(self.position / BLOCK_SIZE)
    }

    /// Writes zeros up to `position`, which is not behind.
    pub(crate) fn pad_to(&mut self, position: u64) -> io::Result<()> {
        debug_assert!(position >= self.position, "cannot go back");
        self.zeros(position - self.position)
    }

    /// Ends the blob on a whole block and puts `head` over its start.
    pub(crate) fn finish(mut self, head: &[u8]) -> io::Result<()> {
        self.align()?;
        self.flush()?;
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(head)?;
        self.out.flush()
    }

    fn zeros(&mut self, count: u64) -> io::Result<()> {
        const ZEROS: [u8; BLOCK] = [0; BLOCK];
        let mut left = count;
        while left > 0 {
            let piece = left.min(BLOCK_SIZE);
            self.write(&ZEROS[..usize::try_from(piece).expect("at most a block")])?;
            left -= piece;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn what_is_skipped_reads_as_zeros() {
        let mut file = Cursor::new(Vec::new());
        let mut writer = BlockWriter::new(&mut file);
        writer.write(&[1; 10]).unwrap();
        writer.skip(100).unwrap();
        writer.write(&[2; 10]).unwrap();
        writer.skip(MIN_HOLE).unwrap();
        assert_eq!(writer.align().unwrap(), MIN_HOLE / BLOCK_SIZE + 1);
        writer.write(&vec![3; BUFFER + 1]).unwrap();
        writer.finish(&[9]).unwrap();

        let bytes = file.into_inner();
        assert!(bytes.len().is_multiple_of(BLOCK));
        assert_eq!(bytes[0], 9);
        assert_eq!(&bytes[9..112], [&[1][..], &[0; 100], &[2; 2]].concat());
        let data = usize::try_from(MIN_HOLE).unwrap() + BLOCK;
        assert!(bytes[120..data].iter().all(|byte| *byte == 0));
        assert!(bytes[data..=data + BUFFER].iter().all(|byte| *byte == 3));
    }
}
