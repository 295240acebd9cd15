//! Virtio devices: what each has to be able to do, and what it is given to do it with.
//!
//! A device is used from two threads under one lock: vCPU threads read its configuration, activate
//! and reset it through the transport; the I/O thread runs its queues through a [`Worker`].

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use crate::Interrupt;

pub mod blk;
pub mod chain;
mod config;
pub mod fs;
pub mod net;
pub mod queue;
pub mod rng;
mod service;
pub mod transport;
pub mod vsock;
mod worker;

pub use blk::Blk;
pub use chain::Chain;
pub use fs::Fs;
pub use net::Net;
pub use queue::Queue;
pub use rng::Rng;
pub use vsock::{Vsock, VsockBackend};
pub use worker::Worker;

/// The guest's memory, which may grow while the machine runs.
pub type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

/// Everything a device works with while its driver is ready; it holds none of it before or after.
pub struct Activation {
    /// The guest's memory.
    pub memory: Memory,
    /// As many as [`VirtioDevice::queue_sizes`] says. One the driver left off never has a chain.
    pub queues: Vec<Queue>,
    /// The way back to the driver.
    pub interrupt: Arc<dyn Interrupt>,
    /// The features that device and driver agreed on.
    pub features: u64,
    /// For each queue, what its notifications signal.
    pub notifiers: Arc<[EventFd]>,
}

/// The half of a virtio device that is the same over every transport.
///
/// The driver's mistakes are never an `Err`: the device stops, says [`Interrupt::needs_reset`],
/// warns with [`guest_warn!`](crate::guest_warn) and counts.
pub trait VirtioDevice: Send {
    /// The device type (virtio 1.2 §5).
    fn kind(&self) -> u32;

    /// The features of this device type that it offers. The transport adds those of rings and
    /// transport.
    fn features(&self) -> u64;

    /// The largest size of each queue, a power of two.
    fn queue_sizes(&self) -> &[u16];

    /// Fills `data` from the device configuration; what lies beyond its end reads as zero.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// Takes a write to the device configuration.
    fn write_config(&mut self, offset: u64, data: &[u8]);

    /// Starts work. Called once before the next [`VirtioDevice::reset`].
    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError>;

    /// Stops work and drops the activation: when it returns, guest memory is no longer touched, but for what
    /// [`VirtioDevice::is_quiet`] tells of.
    fn reset(&mut self);

    /// Whether, after a reset, nobody else who works for the device touches guest memory any more. Asked again
    /// and again while the driver waits, and true before there is another [`VirtioDevice::activate`].
    fn is_quiet(&mut self) -> bool {
        true
    }

    /// Works on what the driver made available in `queue`, for at most a bounded number of chains.
    ///
    /// Called spuriously, too: when there is nothing, and when the device is not active.
    fn process_queue(&mut self, queue: usize) -> Result<Progress, DeviceError>;

    /// Whether somebody else waits for `queue`'s notifications, through [`Activation::notifiers`], so that there
    /// is no [`VirtioDevice::process_queue`] for them. The same for the life of the device.
    fn is_served_elsewhere(&self, _queue: usize) -> bool {
        false
    }

    /// Descriptors to watch for input on the host's side, the same for the life of the device.
    fn host_fds(&self) -> io::Result<Vec<OwnedFd>> {
        Ok(Vec::new())
    }

    /// Works on input at the descriptor at `index` in [`VirtioDevice::host_fds`]. Must make it
    /// unreadable also while the device is not active, or the I/O thread spins. A device that stops
    /// at its bound gets a [`VirtioDevice::process_queue`] of queue 0 to go on.
    fn process_host_event(&mut self, _index: usize) -> Result<Progress, DeviceError> {
        Ok(Progress::Idle)
    }

    /// What the device has counted, by name.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// Whether a device that returned has more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Nothing; the next notification will tell.
    Idle,
    /// It stopped at its bound, to let other devices work.
    More,
}

/// A device can't start, because of the host.
#[derive(Debug, thiserror::Error)]
#[error("start the device: {doing}")]
pub struct ActivateError {
    /// What could not be done.
    pub doing: &'static str,
    /// Why.
    pub source: io::Error,
}

/// A device can't go on, because of the host.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The guest can't be told that its buffers were used.
    #[error("interrupt the guest")]
    Interrupt(#[source] io::Error),
    /// An event descriptor is broken.
    #[error("read an event descriptor")]
    Event(#[source] io::Error),
    /// A process that does a device's work is gone.
    #[error("{process} is gone")]
    Backend {
        /// Which, in words.
        process: &'static str,
        /// How that shows.
        source: io::Error,
    },
}
