//! A descriptor chain, checked and copied out of guest memory once.

use vm_memory::{GuestAddress, GuestMemory, GuestMemoryMmap, Permissions, VolatileSlice};

/// One buffer of a chain; it lies in guest memory and is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Where it begins.
    pub address: GuestAddress,
    /// How long it is.
    pub len: u32,
}

/// What the driver made available under one head: buffers to read, then buffers to write.
///
/// It is a token: whoever has it owes the queue a [`Queue::complete`](super::Queue::complete). The
/// descriptors were read once, so the driver can't change them any more; the buffers' content it
/// can.
#[derive(Debug, PartialEq, Eq)]
pub struct Chain {
    pub(super) head: u16,
    pub(super) buffers: Vec<Buffer>,
    pub(super) first_writable: usize,
}

impl Chain {
    /// The buffers the driver filled.
    pub fn readable(&self) -> &[Buffer] {
        &self.buffers[..self.first_writable]
    }

    /// The buffers the device is to fill.
    pub fn writable(&self) -> &[Buffer] {
        &self.buffers[self.first_writable..]
    }

    /// Reads what the driver wrote, from its beginning.
    pub fn reader<'a>(&'a self, memory: &'a GuestMemoryMmap) -> Cursor<'a> {
        Cursor::new(memory, self.readable())
    }

    /// Writes what the driver will read, from its beginning.
    pub fn writer<'a>(&'a self, memory: &'a GuestMemoryMmap) -> Cursor<'a> {
        Cursor::new(memory, self.writable())
    }
}

/// A place in a chain's buffers, across which they look like one.
pub struct Cursor<'a> {
    memory: &'a GuestMemoryMmap,
    buffers: &'a [Buffer],
    /// Bytes of the first of `buffers` that are done with.
    offset: u32,
    remaining: u64,
}

/// The buffers end earlier than their header says or the device type demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use {wanted} bytes of buffers that have {remaining} left")]
pub struct ChainTooShort {
    /// How many bytes there should have been.
    pub wanted: u64,
    /// How many there were.
    pub remaining: u64,
}

impl<'a> Cursor<'a> {
    fn new(memory: &'a GuestMemoryMmap, buffers: &'a [Buffer]) -> Self {
        Self {
            memory,
            buffers,
            offset: 0,
            remaining: buffers.iter().map(|b| u64::from(b.len)).sum(),
        }
    }

    /// This cursor, ending after at most `count` bytes.
    #[must_use]
    pub fn limited(mut self, count: u64) -> Self {
        self.remaining = self.remaining.min(count);
        self
    }

    /// How many bytes lie ahead.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Fills `out` from the next bytes, or does nothing.
    pub fn read(&mut self, out: &mut [u8]) -> Result<(), ChainTooShort> {
        let mut done = 0;
        for slice in self.slices(out.len() as u64)? {
            done += slice.copy_to(&mut out[done..]);
        }
        Ok(())
    }

    /// Puts `data` into the next bytes, or does nothing.
    pub fn write(&mut self, data: &[u8]) -> Result<(), ChainTooShort> {
        let mut done = 0;
        for slice in self.slices(data.len() as u64)? {
            slice.copy_from(&data[done..]);
            done += slice.len();
        }
        Ok(())
    }

    /// Goes past the next `count` bytes.
    pub fn skip(&mut self, count: u64) -> Result<(), ChainTooShort> {
        self.walk(count, |_, _| {})
    }

    /// The next `count` bytes where they lie in our memory.
    pub fn slices(&mut self, count: u64) -> Result<Vec<VolatileSlice<'a>>, ChainTooShort> {
        let memory = self.memory;
        let mut slices = Vec::with_capacity(self.buffers.len());
        let mut found = 0;
        self.walk(count, |address, len| {
            let parts = memory.get_slices(address, len as usize, Permissions::ReadWrite);
            for slice in parts.into_iter().flatten().flatten() {
                found += slice.len() as u64;
                slices.push(slice);
            }
        })?;
        // Memory that was there when the chain was taken is never taken away under it.
        if found == count {
            Ok(slices)
        } else {
            Err(ChainTooShort {
                wanted: count,
                remaining: found,
            })
        }
    }

    fn walk(
        &mut self,
        count: u64,
        mut visit: impl FnMut(GuestAddress, u32),
    ) -> Result<(), ChainTooShort> {
        if count > self.remaining {
            return Err(ChainTooShort {
                wanted: count,
                remaining: self.remaining,
            });
        }
        self.remaining -= count;
        let mut left = count;
        while left > 0 {
            let buffer = self.buffers[0];
            let here = buffer.len - self.offset;
            let take = u32::try_from(left).unwrap_or(u32::MAX).min(here);
            let start = buffer.address.0 + u64::from(self.offset);
            visit(GuestAddress(start), take);
            left -= u64::from(take);
            if take == here {
                self.buffers = &self.buffers[1..];
                self.offset = 0;
            } else {
                self.offset += take;
            }
        }
        Ok(())
    }
}
