//! A frame from the driver to the host.

use std::os::fd::BorrowedFd;

use vm_memory::GuestMemoryMmap;

use super::guest_io::write_frame;
use super::{HEADER, LARGEST_FRAME};
use crate::guest_warn;
use crate::virtio::chain::Chain;
use crate::virtio::service::{Service, Stop};

/// How often, at most, others get the CPU before the queue pair's other direction has its turn.
pub(super) const PAUSES: usize = 8;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// So many bytes were sent.
    Sent(u64),
    /// It was not sent, as on a wire where frames get lost.
    Dropped,
}

/// The next frame of a driver that need not notify of it. With `None`, it is told of all that was sent, and
/// notifies of the one after.
///
/// Before that, whoever else waits for this CPU gets it for a moment, up to `pauses` times. Often that is the
/// driver, which then goes on to send; to be notified of each of its frames takes longer than to send it.
/// Where nobody waits, nothing is lost.
pub(super) fn next_frame(
    service: &mut Service<'_>,
    pauses: &mut usize,
) -> Result<Option<Chain>, Stop> {
    if let Some(chain) = service.queue.pop(service.memory)? {
        return Ok(Some(chain));
    }
    service.signal()?;
    if *pauses > 0 {
        *pauses -= 1;
        std::thread::yield_now();
    }
    Ok(service.next()?)
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
