//! The loop in which a device with independent requests works through a queue.

use std::io;

use vm_memory::{GuestAddressSpace, GuestMemoryMmap};

use super::chain::{Chain, ChainTooShort};
use super::queue::QueueFault;
use super::{Activation, DeviceError, Interrupt, Progress, Queue};
use crate::guest_warn;

/// What a driver did wrong, after which its device stops until it is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the queue")]
    Queue(#[from] QueueFault),
    #[error("a request's buffers")]
    Buffers(#[from] ChainTooShort),
}

/// Why a device can't go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// Its driver's doing.
    Fault(Fault),
    /// The host's.
    Interrupt(io::Error),
}

impl<F: Into<Fault>> From<F> for Stop {
    fn from(fault: F) -> Self {
        Self::Fault(fault.into())
    }
}

impl Stop {
    /// Splits what the driver did, which it is told of and which is counted, from what the host
    /// failed at, which the caller is told of.
    pub(super) fn report(
        self,
        kind: u32,
        interrupt: &dyn Interrupt,
        guest_errors: &mut u64,
    ) -> Result<(), DeviceError> {
        match self {
            Self::Fault(fault) => {
                *guest_errors += 1;
                let cause = std::error::Error::source(&fault).map(ToString::to_string);
                guest_warn!(kind, %fault, cause, "the driver broke its device");
                interrupt.needs_reset();
                Ok(())
            }
            Self::Interrupt(error) => Err(DeviceError::Interrupt(error)),
        }
    }
}

/// Serves what is available in the only queue of a device of type `kind`, if the device is active, and
/// stops the device if its driver breaks it. `serve` gives the number of bytes it wrote into the chain.
pub(super) fn run_only_queue(
    active: &mut Option<Activation>,
    kind: u32,
    guest_errors: &mut u64,
    mut serve: impl FnMut(&GuestMemoryMmap, &Chain) -> Result<u32, Fault>,
) -> Result<Progress, DeviceError> {
    while_active(
        active,
        |active| active,
        |_, activation| {
            let memory = activation.memory.memory();
            Service::of(activation, 0, &memory).run(|chain| serve(&memory, chain))
        },
        |_, activation, stop| stop.report(kind, &*activation.interrupt, guest_errors),
    )
}

/// Does `work` with what `slot` of a device holds while it is active; nothing if it holds nothing. If the device
/// can't go on, the slot stays empty and `stopped` gets what was in it.
pub(super) fn while_active<D, A>(
    device: &mut D,
    slot: impl Fn(&mut D) -> &mut Option<A>,
    work: impl FnOnce(&mut D, &mut A) -> Result<Progress, Stop>,
    stopped: impl FnOnce(&mut D, A, Stop) -> Result<(), DeviceError>,
) -> Result<Progress, DeviceError> {
    let Some(mut active) = slot(device).take() else {
        return Ok(Progress::Idle);
    };
    match work(device, &mut active) {
        Ok(progress) => {
            *slot(device) = Some(active);
            Ok(progress)
        }
        Err(stop) => {
            stopped(device, active, stop)?;
            Ok(Progress::Idle)
        }
    }
}

/// One queue of a device, and how to tell the driver that its chains are used.
pub(super) struct Service<'a> {
    pub(super) queue: &'a mut Queue,
    pub(super) index: u16,
    pub(super) memory: &'a GuestMemoryMmap,
    pub(super) interrupt: &'a dyn Interrupt,
}

impl<'a> Service<'a> {
    /// The queue of this number.
    pub(super) fn of(
        active: &'a mut Activation,
        queue: usize,
        memory: &'a GuestMemoryMmap,
    ) -> Self {
        Self {
            queue: &mut active.queues[queue],
            index: u16::try_from(queue).expect("a device has few queues"),
            memory,
            interrupt: &*active.interrupt,
        }
    }

    /// Serves each available chain with `serve`, which gives the number of bytes it wrote; at most
    /// as many chains as the queue holds.
    pub(super) fn run(
        &mut self,
        mut serve: impl FnMut(&Chain) -> Result<u32, Fault>,
    ) -> Result<Progress, Stop> {
        self.queue.disable_notifications(self.memory)?;
        for _ in 0..self.queue.size() {
            let Some(chain) = self.next()? else {
                return Ok(Progress::Idle);
            };
            let written = serve(&chain)?;
            self.queue.complete(self.memory, chain, written)?;
            self.signal()?;
        }
        Ok(Progress::More)
    }

    /// The next chain. With `None`, the driver will notify of the one after.
    pub(super) fn next(&mut self) -> Result<Option<Chain>, QueueFault> {
        if let Some(chain) = self.queue.pop(self.memory)? {
            return Ok(Some(chain));
        }
        if self.queue.enable_notifications(self.memory)? {
            return self.queue.pop(self.memory);
        }
        Ok(None)
    }

    /// Interrupts the driver if it wants to know of what was completed.
    pub(super) fn signal(&mut self) -> Result<(), Stop> {
        if self.queue.needs_interrupt(self.memory)? {
            let signalled = self.interrupt.signal_queue(self.index);
            signalled.map_err(Stop::Interrupt)?;
        }
        Ok(())
    }
}
