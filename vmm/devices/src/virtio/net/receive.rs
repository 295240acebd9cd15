//! Frames from the host into the driver's buffers.
//!
//! How long a frame is shows only when it is read, so enough buffers for the longest are held ready;
//! those that a frame did not need wait for the next.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

use super::config::{GUEST_SEGMENTS, MRG_RXBUF};
use super::guest_io::Vectors;
use super::{HEADER, LARGEST_FRAME};
use crate::virtio::chain::{Chain, ChainTooShort};
use crate::virtio::service::{Service, Stop};

/// Ethernet header and a VLAN tag.
const LINK_HEADER: u64 = 18;

/// Where the header says how many buffers a frame took.
const NUM_BUFFERS: u64 = 10;

pub(super) struct Receiver {
    buffers: VecDeque<Buffer>,
    /// Where they lie.
    vectors: Vectors,
    /// Bytes that fit into them.
    room: u64,
    /// Bytes that the longest frame takes.
    wanted: u64,
    frames: Frames,
}

struct Buffer {
    chain: Chain,
    len: u64,
    /// In how many pieces it lies.
    pieces: usize,
}

/// How frames lie in buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frames {
    /// In as many as they need.
    Merged,
    /// Each in one.
    Whole,
}

pub(super) enum Received {
    /// A frame of so many bytes.
    Frame(u64),
    /// There is none.
    Nothing,
    /// There may be one, but there is no room for it.
    NoBuffers,
    /// The host's side failed.
    Failed(io::Error),
}

impl Receiver {
    /// For a driver with these features, on an interface with packets of up to `mtu` bytes.
    pub(super) fn new(features: u64, mtu: u16) -> Self {
        let segmented = features & GUEST_SEGMENTS != 0;
        let largest = if segmented {
            LARGEST_FRAME
        } else {
            LINK_HEADER + u64::from(mtu)
        };
        Self {
            buffers: VecDeque::new(),
            vectors: Vectors::default(),
            room: 0,
            wanted: HEADER + largest,
            frames: if features & MRG_RXBUF != 0 {
                Frames::Merged
            } else {
                Frames::Whole
            },
        }
    }

    /// Moves one frame from `fd` to the driver, who is not told yet.
    pub(super) fn receive(
        &mut self,
        service: &mut Service<'_>,
        fd: BorrowedFd<'_>,
    ) -> Result<Received, Stop> {
        if !self.refill(service)? {
            return Ok(Received::NoBuffers);
        }
        let buffers = match self.frames {
            Frames::Whole => 1,
            Frames::Merged => self.buffers.len(),
        };
        let pieces = self.buffers.iter().take(buffers).map(|b| b.pieces).sum();
        let read = self.vectors.read_frame(fd, pieces);
        let length = match read {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Received::Nothing);
            }
            Err(error) => return Ok(Received::Failed(error)),
        };
        if length <= HEADER {
            let error = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Ok(Received::Failed(error));
        }
        self.give_back(service, length)?;
        Ok(Received::Frame(length - HEADER))
    }

    /// Takes buffers from the driver until the longest frame fits. False if it doesn't; then the
    /// driver will notify of its next buffer.
    fn refill(&mut self, service: &mut Service<'_>) -> Result<bool, Stop> {
        while !self.suffices(service.queue.size()) {
            let Some(chain) = service.next()? else {
                return Ok(false);
            };
            let len = chain.writable().iter().map(|b| u64::from(b.len)).sum();
            // virtio 1.2 §5.1.6.3.1: each holds the header at least.
            if len < HEADER {
                return Err(Stop::from(ChainTooShort {
                    wanted: HEADER,
                    remaining: len,
                }));
            }
            self.room += len;
            let pieces = self.vectors.push(service.memory, &chain);
            self.buffers.push_back(Buffer { chain, len, pieces });
        }
        Ok(true)
    }

    /// A driver whose whole queue is too small gets its frames cut.
    fn suffices(&self, queue_size: u16) -> bool {
        match self.frames {
            Frames::Whole => !self.buffers.is_empty(),
            Frames::Merged => {
                self.room >= self.wanted || self.buffers.len() >= usize::from(queue_size)
            }
        }
    }

    /// Gives the driver the buffers that a frame of `length` bytes lies in.
    fn give_back(&mut self, service: &mut Service<'_>, length: u64) -> Result<(), Stop> {
        let mut left = length;
        let mut used = Vec::new();
        while left > 0 {
            let Some(Buffer { chain, len, pieces }) = self.buffers.pop_front() else {
                break;
            };
            self.vectors.drop_first(pieces);
            self.room -= len;
            let written = left.min(len);
            left -= written;
            // A frame is shorter than 64 KiB and a header, and so is what lies in one buffer of it.
            used.push((chain, u32::try_from(written).unwrap_or(u32::MAX)));
        }
        let count = u16::try_from(used.len()).unwrap_or(u16::MAX);
        if let Some((first, _)) = used.first() {
            let mut header = first.writer(service.memory);
            header.skip(NUM_BUFFERS)?;
            header.write(&count.to_le_bytes())?;
        }
        Ok(service.queue.complete_all(service.memory, used)?)
    }
}
