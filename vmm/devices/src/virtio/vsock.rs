//! virtio-vsock: packets of host ↔ guest streams, on their way to and from a [`VsockBackend`]
//! (virtio 1.2 §5.10).
//!
//! The device moves packets and knows no connections. What a driver sends is copied out of guest
//! memory once, so that nobody looks at it twice; a packet for the guest is taken from the backend
//! only when the driver has made a buffer available for it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::EventfdFlags;
use vm_memory::GuestAddressSpace;

pub mod backend;
pub mod header;
mod packets;

pub use self::backend::{Sent, VsockBackend};
pub use self::header::Header;
use self::packets::Packets;
use super::chain::Chain;
use super::service::{Service, Stop, while_active};
use super::{ActivateError, Activation, DeviceError, Progress, VirtioDevice, config};

/// Device type.
pub const KIND: u32 = 19;
/// The host's address.
pub const HOST_CID: u64 = 2;

const QUEUE_SIZES: [u16; 3] = [256, 256, 16];
const RX: usize = 0;
const TX: usize = 1;
const EVENT: usize = 2;

const EVENT_TRANSPORT_RESET: u32 = 0;

/// Passes of host → guest and guest → host in one call, after which other devices have their turn.
const PASSES: usize = 4;

/// The device.
pub struct Vsock {
    cid: u64,
    backend: Box<dyn VsockBackend>,
    packets: Packets,
    active: Option<Activation>,
    event_buffers: VecDeque<Chain>,
    reset_asked: Arc<OwnedFd>,
    transport_reset: TransportReset,
    guest_errors: u64,
}

/// Where the driver is with being told that its connections are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TransportReset {
    /// There is nothing to tell.
    None,
    /// It has no buffer for the event yet.
    Untold,
    /// It was told and has not yet given the event's buffer back.
    Told,
}

/// Tells the driver that all its connections are gone, as they are after a snapshot was restored.
#[derive(Clone, Debug)]
pub struct ResetHandle(Arc<OwnedFd>);

impl ResetHandle {
    /// Asks the device to do so. It gives the driver no packets until that has seen it.
    pub fn reset_transport(&self) -> io::Result<()> {
        rustix::io::write(&*self.0, &1u64.to_ne_bytes())?;
        Ok(())
    }
}

impl Vsock {
    /// A device for the guest with the address `cid`.
    pub fn new(cid: u64, backend: Box<dyn VsockBackend>) -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self {
            cid,
            backend,
            packets: Packets::new(cid),
            active: None,
            event_buffers: VecDeque::new(),
            reset_asked: Arc::new(rustix::event::eventfd(0, flags)?),
            transport_reset: TransportReset::None,
            guest_errors: 0,
        })
    }

    /// The way to [`ResetHandle::reset_transport`].
    pub fn reset_handle(&self) -> ResetHandle {
        ResetHandle(Arc::clone(&self.reset_asked))
    }

    /// Moves packets both ways until neither side has more, or for a bounded time.
    fn move_packets(&mut self) -> Result<Progress, DeviceError> {
        self.guarded(|vsock, active| {
            for _ in 0..PASSES {
                let sent = vsock.run_tx(active)?;
                let received = vsock.run_rx(active)?;
                if sent == Progress::Idle && received == Progress::Idle {
                    return Ok(Progress::Idle);
                }
            }
            Ok(Progress::More)
        })
    }

    fn run_tx(&mut self, active: &mut Activation) -> Result<Progress, Stop> {
        let memory = active.memory.memory();
        let mut service = Service::of(active, TX, &memory);
        self.packets.guest_to_host(&mut service, &mut *self.backend)
    }

    fn run_rx(&mut self, active: &mut Activation) -> Result<Progress, Stop> {
        if self.transport_reset != TransportReset::None {
            return Ok(Progress::Idle);
        }
        let memory = active.memory.memory();
        let mut service = Service::of(active, RX, &memory);
        self.packets.host_to_guest(&mut service, &mut *self.backend)
    }

    /// Takes the driver's buffers for events, and tells it of a transport reset in one of them. A
    /// buffer that comes after that shows that the driver has read the event.
    fn run_events(&mut self) -> Result<Progress, DeviceError> {
        self.guarded(|vsock, active| {
            let memory = active.memory.memory();
            let mut service = Service::of(active, EVENT, &memory);
            // All are taken: while some lie there, adding more notifies nobody.
            while let Some(chain) = service.next()? {
                vsock.event_buffers.push_back(chain);
                if vsock.transport_reset == TransportReset::Told {
                    vsock.transport_reset = TransportReset::None;
                }
            }
            if vsock.transport_reset != TransportReset::Untold {
                return Ok(Progress::Idle);
            }
            let Some(chain) = vsock.event_buffers.pop_front() else {
                return Ok(Progress::Idle);
            };
            let event = EVENT_TRANSPORT_RESET.to_le_bytes();
            chain.writer(&memory).write(&event)?;
            service.queue.complete(&memory, chain, 4)?;
            vsock.transport_reset = TransportReset::Told;
            service.signal()?;
            Ok(Progress::Idle)
        })
    }

    /// Runs `work` if the device is active; stops it if its driver breaks it.
    fn guarded(
        &mut self,
        work: impl FnOnce(&mut Self, &mut Activation) -> Result<Progress, Stop>,
    ) -> Result<Progress, DeviceError> {
        let stopped = |vsock: &mut Self, active: Activation, stop: Stop| {
            vsock.backend.reset();
            stop.report(KIND, &*active.interrupt, &mut vsock.guest_errors)
        };
        while_active(self, |vsock| &mut vsock.active, work, stopped)
    }
}

impl VirtioDevice for Vsock {
    fn kind(&self) -> u32 {
        KIND
    }

    fn features(&self) -> u64 {
        // Without a feature there are only streams (virtio 1.2 §5.10.3).
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        config::read(&self.cid.to_le_bytes(), offset, data);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        self.active = Some(activation);
        Ok(())
    }

    fn reset(&mut self) {
        self.active = None;
        self.event_buffers.clear();
        // A driver that starts anew has no connections to lose.
        self.transport_reset = TransportReset::None;
        self.backend.reset();
    }

    fn process_queue(&mut self, queue: usize) -> Result<Progress, DeviceError> {
        if queue == EVENT {
            let _ = self.run_events()?;
        }
        self.move_packets()
    }

    fn host_fds(&self) -> io::Result<Vec<OwnedFd>> {
        Ok(vec![self.backend.host_fd()?, self.reset_asked.try_clone()?])
    }

    fn process_host_event(&mut self, index: usize) -> Result<Progress, DeviceError> {
        if index == 0 {
            self.backend.host_event();
            return self.move_packets();
        }
        let mut count = [0; 8];
        match rustix::io::read(&*self.reset_asked, &mut count) {
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(Progress::Idle),
            Err(error) => return Err(DeviceError::Event(error.into())),
        }
        self.backend.reset();
        if self.active.is_some() {
            self.transport_reset = TransportReset::Untold;
        }
        self.run_events()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut counters = self.packets.counters();
        counters.push(("vsock_guest_errors", self.guest_errors));
        counters
    }
}

#[cfg(test)]
mod tests;
