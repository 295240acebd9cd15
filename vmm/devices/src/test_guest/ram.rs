//! Guest memory: 4 MiB of a file in two regions that touch, and nothing above.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use vm_memory::{Bytes, FileOffset, GuestAddress, GuestAddressSpace, GuestMemoryMmap};

use crate::virtio::Memory;

/// Where the two regions meet. A buffer across it is one buffer to the guest and two to the host.
pub(crate) const SEAM: u64 = 0x20_0000;
/// The first address without memory.
pub(crate) const END: u64 = 0x40_0000;

const FIRST_BUFFER: u64 = 0x10_0000;

/// Memory, and a guest's bump allocator.
#[derive(Clone)]
pub(crate) struct GuestRam {
    memory: Memory,
    next: Rc<Cell<u64>>,
}

impl GuestRam {
    pub(crate) const END: u64 = END;
    pub(crate) const SEAM: u64 = SEAM;

    pub(crate) fn new() -> Self {
        let half = usize::try_from(SEAM).unwrap();
        let file = Arc::new(tempfile::tempfile().unwrap());
        file.set_len(END).unwrap();
        let ranges = [0, SEAM].map(|start| {
            let part = FileOffset::from_arc(Arc::clone(&file), start);
            (GuestAddress(start), half, Some(part))
        });
        let memory = GuestMemoryMmap::from_ranges_with_files(&ranges).unwrap();
        Self {
            memory: Memory::new(memory),
            next: Rc::new(Cell::new(FIRST_BUFFER)),
        }
    }

    pub(crate) fn memory(&self) -> Memory {
        self.memory.clone()
    }

    /// Room for `len` bytes. It is given out again some time later.
    pub(crate) fn room(&self, len: u64) -> u64 {
        let start = self.next.get().next_multiple_of(16);
        let start = if start + len > END {
            FIRST_BUFFER
        } else {
            start
        };
        self.next.set(start + len);
        start
    }

    /// Puts `data` somewhere.
    pub(crate) fn place(&self, data: &[u8]) -> u64 {
        let address = self.room(data.len() as u64);
        self.write(address, data);
        address
    }

    pub(crate) fn write(&self, address: u64, data: &[u8]) {
        self.memory
            .memory()
            .write_slice(data, GuestAddress(address))
            .unwrap();
    }

    pub(crate) fn read(&self, address: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.memory
            .memory()
            .read_slice(&mut data, GuestAddress(address))
            .unwrap();
        data
    }

    pub(crate) fn read_u16(&self, address: u64) -> u16 {
        u16::from_le_bytes(self.read(address, 2).try_into().unwrap())
    }
}
