//! A frame from the driver to the host.

use std::os::fd::BorrowedFd;

use vm_memory::GuestMemoryMmap;

use super::guest_io::write_frame;
use super::{HEADER, LARGEST_FRAME};
use crate::guest_warn;
use crate::virtio::chain::Chain;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// So many bytes were sent.
    Sent(u64),
    /// It was not sent, as on a wire where frames get lost.
    Dropped,
}

/// Sends what is in `chain`. The host's kernel reads the header once and checks it, and refuses a
/// frame that doesn't fit it.
pub(super) fn send(chain: &Chain, memory: &GuestMemoryMmap, fd: BorrowedFd<'_>) -> Outcome {
    let mut reader = chain.reader(memory);
    let length = reader.remaining();
    if length <= HEADER || length > HEADER + LARGEST_FRAME {
        guest_warn!(length, "a driver sent a frame of impossible length");
        return Outcome::Dropped;
    }
    let Ok(slices) = reader.slices(length) else {
        return Outcome::Dropped;
    };
    match write_frame(fd, &slices) {
        Ok(_) => Outcome::Sent(length - HEADER),
        Err(error) => {
            guest_warn!(%error, length, "a frame could not be sent");
            Outcome::Dropped
        }
    }
}
