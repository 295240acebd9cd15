//! Requests that the process still works on after its queues were taken back.
//!
//! It says how many it has taken of each queue. When as many are used, none is under way any more. Only the
//! driver could make that look otherwise, and only its own memory is at stake.

use std::sync::atomic::Ordering;

use vm_memory::{Bytes, GuestAddress, GuestAddressSpace};

use crate::virtio::Memory;
use crate::virtio::queue::QueueLayout;

/// A queue's count of used requests, in guest memory.
#[derive(Clone, Debug)]
pub(super) struct UsedIndex {
    memory: Memory,
    address: GuestAddress,
    /// What it was when the process got the queue.
    first: u16,
}

impl UsedIndex {
    /// The one of a queue that nobody works on yet.
    pub(super) fn of(layout: &QueueLayout, memory: &Memory) -> Self {
        // virtio 1.2 §2.7.8: flags, then the index.
        let mut index = Self {
            memory: memory.clone(),
            address: GuestAddress(layout.used.saturating_add(2)),
            first: 0,
        };
        index.first = index.now().unwrap_or(0);
        index
    }

    /// Whether so many requests have been used.
    fn has_come_to(&self, taken: u16) -> bool {
        // A ring that isn't in memory was never handed over.
        self.now()
            .is_none_or(|now| now == self.first.wrapping_add(taken))
    }

    fn now(&self) -> Option<u16> {
        let memory = self.memory.memory();
        let index = memory.load::<u16>(self.address, Ordering::Acquire);
        index.ok().map(u16::from_le)
    }
}

/// Queues that were taken back, until what was taken of them is used.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Vec<(UsedIndex, u16)>);

impl UnderWay {
    /// The process has `taken` so many requests of a queue, and takes no more.
    pub(super) fn add(&mut self, used: UsedIndex, taken: u16) {
        self.0.push((used, taken));
    }

    /// Whether nothing is under way any more.
    pub(super) fn is_over(&mut self) -> bool {
        self.0.retain(|(used, taken)| !used.has_come_to(*taken));
        self.0.is_empty()
    }
}
