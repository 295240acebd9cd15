//! The part of the stream that is in memory.

use std::io::{self, ErrorKind, Read};

/// A reader with a buffer that can be asked for at least so many bytes at once.
#[derive(Debug)]
pub(super) struct Window<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes handed out so far.
    consumed: u64,
}

impl<R: Read> Window<R> {
    const SIZE: usize = 512 << 10;

    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            buffer: vec![0; Self::SIZE],
            start: 0,
            end: 0,
            consumed: 0,
        }
    }

    /// What is in memory and not consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Bytes consumed since the beginning of the stream.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed
    }

    pub(super) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start, "consumes what it has seen");
        self.start += count;
        self.consumed += count as u64;
    }

    /// Reads until `wanted` bytes are in memory; fewer mean the end of the stream.
    pub(super) fn fill(&mut self, wanted: usize) -> io::Result<&[u8]> {
        if self.end - self.start < wanted && self.buffer.len() - self.start < wanted {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let size = self.buffer.len().max(wanted);
            self.buffer.resize(size, 0);
        }
        while self.end - self.start < wanted {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out one byte at a time.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(1);
            self.0.read(&mut buffer[..count])
        }
    }

    #[test]
    fn slow_readers_and_large_wishes_are_served() {
        let data: Vec<u8> = (0..=255)
            .cycle()
            .take(2 * Window::<Drip<'_>>::SIZE)
            .collect();
        let mut window = Window::new(Drip(&data));
        assert_eq!(window.fill(10).unwrap(), &data[..10]);
        window.consume(7);
        assert_eq!(
            window.fill(Window::<Drip<'_>>::SIZE + 9).unwrap(),
            &data[7..][..Window::<Drip<'_>>::SIZE + 9]
        );
        window.consume(Window::<Drip<'_>>::SIZE);
    }
}
