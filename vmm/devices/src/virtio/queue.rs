//! A split virtqueue whose driver is not trusted.
//!
//! On top of what `virtio_queue` checks: a chain that breaks off, a readable buffer behind a
//! writable one, a buffer outside of memory, and a head that is made available again while the
//! device still has it are faults of the queue. A queue with a fault never yields a chain again.

use std::num::Wrapping;
use std::sync::atomic::{Ordering, fence};

use virtio_queue::{QueueOwnedT, QueueT, desc::split::Descriptor};
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryMmap, Permissions};

use super::chain::{Buffer, Chain};

/// Bit of the available ring's flags by which a driver without event indices declines interrupts.
const AVAIL_F_NO_INTERRUPT: u16 = 1;

/// What the driver did wrong with a queue. Only a reset of the device helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueFault {
    /// Its size is no power of two, or above the largest.
    #[error("queue size {0} is not allowed")]
    Size(u16),
    /// A ring lies outside of memory or is misaligned.
    #[error("ring at {0:#x} is misplaced")]
    Ring(u64),
    /// More chains are available than the queue can hold.
    #[error("available index is out of range")]
    AvailableIndex,
    /// A head is no index into the descriptor table.
    #[error("head {0} is out of range")]
    Head(u16),
    /// The device still has the chain with this head.
    #[error("head {0} is already in flight")]
    InFlight(u16),
    /// A chain has no end, breaks off, is too long or nests tables.
    #[error("chain at head {0} is malformed")]
    Malformed(u16),
    /// A buffer to read comes after one to write.
    #[error("chain at head {0} has a readable buffer after a writable one")]
    Order(u16),
    /// A buffer lies outside of memory.
    #[error("chain at head {head} has a buffer outside of memory, at {address:#x}")]
    Outside {
        /// The chain's head.
        head: u16,
        /// Where the buffer begins.
        address: u64,
    },
    /// It had a fault before.
    #[error("queue is broken")]
    Broken,
}

/// Where a driver put a queue, as it said so in the transport's registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLayout {
    /// Number of descriptors.
    pub size: u16,
    /// Descriptor table (queue_desc).
    pub descriptors: u64,
    /// Available ring (queue_driver).
    pub available: u64,
    /// Used ring (queue_device).
    pub used: u64,
}

/// One queue of an active device.
#[derive(Debug)]
pub struct Queue {
    state: State,
    ring: virtio_queue::Queue,
    in_flight: Vec<bool>,
    /// The used ring's index. Ours, because `virtio_queue` shows the driver every chain on its own.
    used: Wrapping<u16>,
    /// Chains completed since the driver's wish for an interrupt was looked at.
    completed: Wrapping<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The driver left it off.
    Off,
    On,
    Broken,
}

impl QueueLayout {
    /// Address and length of descriptor table, available ring and used ring (virtio 1.2 §2.7); the rings
    /// end with an event index each.
    pub fn parts(&self) -> [(u64, usize); 3] {
        let size = usize::from(self.size);
        [
            (self.descriptors, 16 * size),
            (self.available, 6 + 2 * size),
            (self.used, 6 + 8 * size),
        ]
    }
}

impl Queue {
    /// A queue the driver left off.
    pub fn off() -> Self {
        let ring = virtio_queue::Queue::new(1).expect("one is a valid size");
        Self {
            state: State::Off,
            ring,
            in_flight: Vec::new(),
            used: Wrapping(0),
            completed: Wrapping(0),
        }
    }

    /// A queue that lies in `memory` as `layout` says, with at most `max_size` descriptors.
    pub fn new(
        layout: &QueueLayout,
        max_size: u16,
        event_idx: EventIdx,
        memory: &GuestMemoryMmap,
    ) -> Result<Self, QueueFault> {
        let size = layout.size;
        let mut ring = virtio_queue::Queue::new(max_size).map_err(|_| QueueFault::Size(size))?;
        ring.try_set_size(size)
            .map_err(|_| QueueFault::Size(size))?;
        ring.try_set_desc_table_address(GuestAddress(layout.descriptors))
            .map_err(|_| QueueFault::Ring(layout.descriptors))?;
        ring.try_set_avail_ring_address(GuestAddress(layout.available))
            .map_err(|_| QueueFault::Ring(layout.available))?;
        ring.try_set_used_ring_address(GuestAddress(layout.used))
            .map_err(|_| QueueFault::Ring(layout.used))?;
        check_rings(layout, memory)?;
        ring.set_event_idx(event_idx == EventIdx::Negotiated);
        ring.set_ready(true);
        Ok(Self {
            state: State::On,
            ring,
            in_flight: vec![false; size.into()],
            used: Wrapping(0),
            completed: Wrapping(0),
        })
    }

    /// Where it lies in guest memory, all of it; `None` if the driver left it off.
    pub fn layout(&self) -> Option<QueueLayout> {
        (self.state != State::Off).then(|| QueueLayout {
            size: self.ring.size(),
            descriptors: self.ring.desc_table(),
            available: self.ring.avail_ring(),
            used: self.ring.used_ring(),
        })
    }

    /// Number of descriptors, which is also the length of the longest chain.
    pub fn size(&self) -> u16 {
        self.ring.size()
    }

    /// Takes the next chain, if there is one.
    pub fn pop(&mut self, memory: &GuestMemoryMmap) -> Result<Option<Chain>, QueueFault> {
        match self.state {
            State::Off => return Ok(None),
            State::Broken => return Err(QueueFault::Broken),
            State::On => {}
        }
        let popped = self.try_pop(memory);
        if popped.is_err() {
            self.state = State::Broken;
        }
        popped
    }

    /// Puts the chain that was popped last back, to be popped again.
    pub fn undo_pop(&mut self, chain: Chain) {
        self.in_flight[usize::from(chain.head)] = false;
        self.ring.go_to_previous_position();
    }

    /// Gives `chain` back to the driver, with the number of bytes that were written into it.
    pub fn complete(
        &mut self,
        memory: &GuestMemoryMmap,
        chain: Chain,
        written: u32,
    ) -> Result<(), QueueFault> {
        self.complete_all(memory, [(chain, written)])
    }

    /// Gives `chains` back, each with the number of bytes that were written into it. The driver sees
    /// all of them or none.
    pub fn complete_all(
        &mut self,
        memory: &GuestMemoryMmap,
        chains: impl IntoIterator<Item = (Chain, u32)>,
    ) -> Result<(), QueueFault> {
        let ring = self.ring.used_ring();
        let misplaced = |_| QueueFault::Ring(ring);
        for (chain, written) in chains {
            self.in_flight[usize::from(chain.head)] = false;
            let slot = u64::from(self.used.0 % self.ring.size());
            // virtio 1.2 §2.7.8: flags and index, then pairs of head and length.
            let element = u64::from(written) << 32 | u64::from(chain.head);
            let address = GuestAddress(ring + 4 + 8 * slot);
            memory
                .write_obj(element.to_le(), address)
                .map_err(misplaced)?;
            self.used += 1;
            self.completed += 1;
        }
        let index = self.used.0.to_le();
        memory
            .store(index, GuestAddress(ring + 2), Ordering::Release)
            .map_err(misplaced)
    }

    /// Whether the driver wants to be told of what was completed since this was asked last.
    pub fn needs_interrupt(&mut self, memory: &GuestMemoryMmap) -> Result<bool, QueueFault> {
        let completed = std::mem::take(&mut self.completed);
        if completed == Wrapping(0) {
            return Ok(false);
        }
        // The driver's wish is read after it can see the index, or both sides may miss each other.
        fence(Ordering::SeqCst);
        if !self.ring.event_idx_enabled() {
            return Ok(self.available_flags(memory)? & AVAIL_F_NO_INTERRUPT == 0);
        }
        // virtio 1.2 §2.7.10: true if the index has gone past the driver's.
        let wish = Wrapping(self.used_event(memory)?);
        Ok(self.used - wish - Wrapping(1) < completed)
    }

    /// Asks the driver not to notify, while the device looks for chains by itself.
    pub fn disable_notifications(&mut self, memory: &GuestMemoryMmap) -> Result<(), QueueFault> {
        if self.state != State::On {
            return Ok(());
        }
        self.ring
            .disable_notification(memory)
            .map_err(|_| QueueFault::Ring(self.ring.used_ring()))
    }

    /// Asks the driver to notify again. True if there are chains that it may not have notified of.
    pub fn enable_notifications(&mut self, memory: &GuestMemoryMmap) -> Result<bool, QueueFault> {
        if self.state != State::On {
            return Ok(false);
        }
        self.ring
            .enable_notification(memory)
            .map_err(|_| QueueFault::Ring(self.ring.used_ring()))
    }

    fn try_pop(&mut self, memory: &GuestMemoryMmap) -> Result<Option<Chain>, QueueFault> {
        let size = self.ring.size();
        let mut heads = self
            .ring
            .iter(memory)
            .map_err(|_| QueueFault::AvailableIndex)?;
        let Some(mut descriptors) = heads.next() else {
            return Ok(None);
        };
        let head = descriptors.head_index();
        match self.in_flight.get_mut(usize::from(head)) {
            None => return Err(QueueFault::Head(head)),
            Some(true) => return Err(QueueFault::InFlight(head)),
            Some(in_flight) => *in_flight = true,
        }
        collect(&mut descriptors, head, size, memory).map(Some)
    }

    fn available_flags(&self, memory: &GuestMemoryMmap) -> Result<u16, QueueFault> {
        self.available_word(memory, 0)
    }

    /// At which index the driver wants to be told of used chains; it lies behind its ring.
    fn used_event(&self, memory: &GuestMemoryMmap) -> Result<u16, QueueFault> {
        self.available_word(memory, 4 + 2 * u64::from(self.ring.size()))
    }

    fn available_word(&self, memory: &GuestMemoryMmap, offset: u64) -> Result<u16, QueueFault> {
        let address = self.ring.avail_ring() + offset;
        memory
            .read_obj::<u16>(GuestAddress(address))
            .map(u16::from_le)
            .map_err(|_| QueueFault::Ring(address))
    }
}

/// Whether `VIRTIO_F_EVENT_IDX` was negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventIdx {
    /// Each side says at which index it wants to be told.
    Negotiated,
    /// Flags say whether each side wants to be told.
    Absent,
}

fn check_rings(layout: &QueueLayout, memory: &GuestMemoryMmap) -> Result<(), QueueFault> {
    for (address, len) in layout.parts() {
        if !memory.check_range(GuestAddress(address), len, Permissions::ReadWrite) {
            return Err(QueueFault::Ring(address));
        }
    }
    Ok(())
}

/// Reads a whole chain. The iterator bounds its length but ends alike for a good and a bad chain,
/// so a chain is good only if its last descriptor says that it is the last.
fn collect(
    descriptors: &mut impl Iterator<Item = Descriptor>,
    head: u16,
    size: u16,
    memory: &GuestMemoryMmap,
) -> Result<Chain, QueueFault> {
    let mut chain = Chain {
        head,
        buffers: Vec::new(),
        first_writable: 0,
    };
    let mut complete = false;
    let mut length = 0;
    for descriptor in descriptors {
        length += 1;
        if length > size {
            return Err(QueueFault::Malformed(head));
        }
        complete = !descriptor.has_next();
        push(&mut chain, &descriptor, memory)?;
    }
    if complete {
        Ok(chain)
    } else {
        Err(QueueFault::Malformed(head))
    }
}

fn push(
    chain: &mut Chain,
    descriptor: &Descriptor,
    memory: &GuestMemoryMmap,
) -> Result<(), QueueFault> {
    let (address, len) = (descriptor.addr(), descriptor.len());
    if !descriptor.is_write_only() && chain.first_writable < chain.buffers.len() {
        return Err(QueueFault::Order(chain.head));
    }
    if len == 0 {
        return Ok(());
    }
    if !memory.check_range(address, len as usize, Permissions::ReadWrite) {
        let head = chain.head;
        return Err(QueueFault::Outside {
            head,
            address: address.0,
        });
    }
    chain.buffers.push(Buffer { address, len });
    if !descriptor.is_write_only() {
        chain.first_writable = chain.buffers.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
