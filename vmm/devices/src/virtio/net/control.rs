//! The control queue: a driver with several CPUs says how many queue pairs it uses (virtio 1.2 §5.1.6.5).

use std::io;

use vm_memory::GuestMemoryMmap;

use super::backend::Part;
use super::config;
use crate::virtio::chain::{Chain, ChainTooShort};
use crate::{guest_warn, host_warn};

/// `VIRTIO_NET_CTRL_MQ` and `VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET`.
const PAIRS_SET: [u8; 2] = [4, 0];

const OK: u8 = 0;
const ERROR: u8 = 1;

/// Where the control queue is for a driver with these features, of a device with so many pairs. Who knows of
/// one pair only has nothing to say.
pub(super) fn queue(features: u64, pairs: usize) -> Option<usize> {
    let both = config::CTRL_VQ | config::MQ;
    (features & both == both).then_some(2 * pairs)
}

/// One of an interface's queue pairs.
pub(super) trait QueuePair {
    /// Takes part in the interface's traffic or not.
    fn set_part(&mut self, part: Part) -> io::Result<()>;
}

/// Gives the first `used` of `pairs` a part in the traffic, and the others none. The first always has one.
pub(super) fn set_used(pairs: &mut [impl QueuePair], used: usize) -> io::Result<()> {
    let parts = pairs.iter_mut().enumerate().skip(1);
    let set = parts.map(|(index, pair)| {
        let part = if index < used {
            Part::Taken
        } else {
            Part::Left
        };
        pair.set_part(part)
    });
    set.collect()
}

/// Does what `chain` says with `pairs`, and answers. Gives how many bytes that took.
pub(super) fn obey(
    chain: &Chain,
    memory: &GuestMemoryMmap,
    pairs: &mut [impl QueuePair],
) -> Result<u32, ChainTooShort> {
    let answer = match command(chain, memory) {
        Some(wanted) if (1..=pairs.len()).contains(&wanted) => match set_used(pairs, wanted) {
            Ok(()) => OK,
            Err(error) => {
                host_warn!(%error, wanted, "an interface's queues can't be switched");
                ERROR
            }
        },
        wanted => {
            guest_warn!(wanted, "a driver's command is refused");
            ERROR
        }
    };
    chain.writer(memory).write(&[answer])?;
    Ok(1)
}

/// How many pairs are wanted, if that is the command.
fn command(chain: &Chain, memory: &GuestMemoryMmap) -> Option<usize> {
    let mut bytes = [0; 4];
    chain.reader(memory).read(&mut bytes).ok()?;
    let [class, command, low, high] = bytes;
    let wanted = u16::from_le_bytes([low, high]);
    ([class, command] == PAIRS_SET).then(|| wanted.into())
}
