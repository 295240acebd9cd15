//! virtio-net: frames between a guest and an interface of the host (virtio 1.2 §5.1).
//!
//! Frames go straight into and out of guest memory, with the header that says what is unfinished
//! about them: checksums and segmentation are left to whoever needs them done, which for traffic
//! between pods of one node is often nobody.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use vm_memory::GuestAddressSpace;

pub mod backend;
mod config;
mod gate;
mod guest_io;
mod receive;
mod send;
pub mod tap;

pub use self::backend::{NetBackend, Offloads};
pub use self::config::Interface;
use self::gate::Gate;
use self::receive::{Received, Receiver};
use self::send::{Outcome, send};
pub use self::tap::{Tap, TapError};
use super::service::{Service, Stop};
use super::{ActivateError, Activation, DeviceError, Progress, VirtioDevice};
use crate::host_warn;

/// Device type.
pub const KIND: u32 = 1;

const QUEUE_SIZES: [u16; 2] = [256, 256];
const RX: usize = 0;
const TX: usize = 1;

/// Frames moved in one call, after which the other direction and other devices have their turn.
const FRAMES: usize = 128;

/// Bytes of `struct virtio_net_hdr_mrg_rxbuf`, which precedes every frame.
const HEADER: u64 = 12;

/// Longest frame, with a segmentation left to do (virtio 1.2 §5.1.6.3.1).
const LARGEST_FRAME: u64 = 65550;

/// The device.
pub struct Net {
    interface: Interface,
    backend: Box<dyn NetBackend>,
    /// Shut while frames can't be taken, since they lie there meanwhile.
    gate: Gate,
    active: Option<(Activation, Receiver)>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    rx_frames: u64,
    rx_bytes: u64,
    /// Times that frames had to wait for the driver's buffers.
    rx_waits: u64,
    tx_frames: u64,
    tx_bytes: u64,
    /// Frames that no driver should send, or that the host would not have.
    tx_dropped: u64,
    /// Times that the host's side failed.
    host_errors: u64,
    guest_errors: u64,
}

impl Net {
    /// A device that is `interface` to the guest, and whose frames go through `backend`.
    pub fn new(interface: Interface, backend: Box<dyn NetBackend>) -> io::Result<Self> {
        Ok(Self {
            interface,
            gate: Gate::new(backend.fd())?,
            backend,
            active: None,
            counts: Counts::default(),
        })
    }

    /// Takes frames from the host as long as there are some and room for them, up to a bound.
    fn receive(
        &mut self,
        active: &mut Activation,
        receiver: &mut Receiver,
    ) -> Result<Progress, Stop> {
        let memory = active.memory.memory();
        let mut service = Service {
            queue: &mut active.queues[RX],
            index: 0,
            memory: &memory,
            interrupt: &*active.interrupt,
        };
        service.queue.disable_notifications(&memory)?;
        let mut any = false;
        for _ in 0..FRAMES {
            match receiver.receive(&mut service, self.backend.fd())? {
                Received::Frame(bytes) => {
                    any = true;
                    self.counts.rx_frames += 1;
                    self.counts.rx_bytes += bytes;
                    continue;
                }
                Received::Nothing => {}
                Received::NoBuffers => {
                    self.counts.rx_waits += 1;
                    self.shut();
                }
                Received::Failed(error) => {
                    self.counts.host_errors += 1;
                    host_warn!(%error, "frames can't be read from an interface");
                    self.shut();
                }
            }
            break;
        }
        if any {
            service.signal()?;
        }
        // What lies there still makes the descriptor readable again.
        Ok(Progress::Idle)
    }

    /// Takes frames from the driver.
    fn send(&mut self, active: &mut Activation) -> Result<Progress, Stop> {
        let memory = active.memory.memory();
        let mut service = Service {
            queue: &mut active.queues[TX],
            index: 1,
            memory: &memory,
            interrupt: &*active.interrupt,
        };
        service.queue.disable_notifications(&memory)?;
        let mut progress = Progress::More;
        let mut any = false;
        for _ in 0..FRAMES {
            let Some(chain) = service.next()? else {
                progress = Progress::Idle;
                break;
            };
            match send(&chain, &memory, self.backend.fd()) {
                Outcome::Sent(bytes) => {
                    self.counts.tx_frames += 1;
                    self.counts.tx_bytes += bytes;
                }
                Outcome::Dropped => self.counts.tx_dropped += 1,
            }
            service.queue.complete(&memory, chain, 0)?;
            any = true;
        }
        if any {
            service.signal()?;
        }
        Ok(progress)
    }

    fn shut(&mut self) {
        if let Err(error) = self.gate.shut() {
            host_warn!(%error, "an interface can't be left alone");
        }
    }

    /// Runs `work` if the device is active; stops it if its driver breaks it.
    fn guarded(
        &mut self,
        work: impl FnOnce(&mut Self, &mut Activation, &mut Receiver) -> Result<Progress, Stop>,
    ) -> Result<Progress, DeviceError> {
        let Some((mut active, mut receiver)) = self.active.take() else {
            return Ok(Progress::Idle);
        };
        match work(self, &mut active, &mut receiver) {
            Ok(progress) => {
                self.active = Some((active, receiver));
                Ok(progress)
            }
            Err(stop) => {
                self.shut();
                let interrupt = Arc::clone(&active.interrupt);
                stop.report(KIND, &*interrupt, &mut self.counts.guest_errors)?;
                Ok(Progress::Idle)
            }
        }
    }
}

impl VirtioDevice for Net {
    fn kind(&self) -> u32 {
        KIND
    }

    fn features(&self) -> u64 {
        config::FEATURES
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        super::config::read(&self.interface.bytes(), offset, data);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let failed = |doing| move |source| ActivateError { doing, source };
        let offloads = Offloads::taken_by(activation.features);
        self.backend
            .set_offloads(offloads)
            .map_err(failed("tell the interface what its driver takes"))?;
        self.gate.open().map_err(failed("watch the interface"))?;
        let receiver = Receiver::new(activation.features, self.interface.mtu);
        self.active = Some((activation, receiver));
        Ok(())
    }

    fn reset(&mut self) {
        self.active = None;
        self.shut();
    }

    fn process_queue(&mut self, queue: usize) -> Result<Progress, DeviceError> {
        self.guarded(|net, active, receiver| match queue {
            RX => {
                if let Err(error) = net.gate.open() {
                    host_warn!(%error, "an interface can't be watched");
                }
                net.receive(active, receiver)
            }
            _ => net.send(active),
        })
    }

    fn host_fds(&self) -> io::Result<Vec<OwnedFd>> {
        Ok(vec![self.gate.fd()?])
    }

    fn process_host_event(&mut self, _index: usize) -> Result<Progress, DeviceError> {
        self.guarded(|net, active, receiver| net.receive(active, receiver))
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let counts = &self.counts;
        vec![
            ("net_rx_frames", counts.rx_frames),
            ("net_rx_bytes", counts.rx_bytes),
            ("net_rx_waits", counts.rx_waits),
            ("net_tx_frames", counts.tx_frames),
            ("net_tx_bytes", counts.tx_bytes),
            ("net_tx_dropped", counts.tx_dropped),
            ("net_host_errors", counts.host_errors),
            ("net_guest_errors", counts.guest_errors),
        ]
    }
}

#[cfg(test)]
mod tests;
