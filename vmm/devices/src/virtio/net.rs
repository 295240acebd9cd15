//! virtio-net: frames between a guest and an interface of the host (virtio 1.2 §5.1).
//!
//! Frames go straight into and out of guest memory, with the header that says what is unfinished
//! about them: checksums and segmentation are left to whoever needs them done, which for traffic
//! between pods of one node is often nobody.

use std::io;
use std::os::fd::OwnedFd;

use vm_memory::GuestAddressSpace;

pub mod backend;
mod config;
mod control;
mod gate;
mod guest_io;
mod pair;
mod receive;
mod send;
pub mod tap;
pub mod vhost_net;

pub use self::backend::{NetBackend, Offloads, Part};
use self::config::Offer;
pub use self::config::{Interface, UdpSegments};
use self::pair::Pair;
use self::receive::{Received, Receiver};
use self::send::{Outcome, PAUSES, next_frame, send};
pub use self::tap::{Tap, TapError};
pub use self::vhost_net::{Vhost, VhostError, VhostNet};
use super::service::{Service, Stop, while_active};
use super::{ActivateError, Activation, DeviceError, Progress, VirtioDevice};
use crate::host_warn;

/// Device type.
pub const KIND: u32 = 1;

/// Frames moved in one call, after which the other direction and other devices have their turn.
const FRAMES: usize = 128;

/// Bytes of `struct virtio_net_hdr_mrg_rxbuf`, which precedes every frame.
const HEADER: u64 = 12;

/// Longest frame, with a segmentation left to do (virtio 1.2 §5.1.6.3.1).
const LARGEST_FRAME: u64 = 65550;

/// The device.
pub struct Net {
    offer: Offer,
    pairs: Vec<Pair>,
    active: Option<Active>,
    counts: Counts,
}

struct Active {
    activation: Activation,
    /// For each pair.
    receivers: Vec<Receiver>,
    control: Option<usize>,
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
    /// A device that is `interface` to the guest, with a queue pair for each of `backends`, one at least.
    pub fn new(interface: Interface, backends: Vec<Box<dyn NetBackend>>) -> io::Result<Self> {
        let pairs = Pair::all(backends)?;
        let segments = pairs
            .first()
            .map_or(UdpSegments::Refused, Pair::udp_segments);
        Ok(Self {
            offer: Offer::new(interface, pairs.len(), segments),
            pairs,
            active: None,
            counts: Counts::default(),
        })
    }

    /// Takes frames for a pair from the host as long as there are some and room for them, up to a bound.
    fn receive(&mut self, active: &mut Active, index: usize) -> Result<Progress, Stop> {
        let memory = active.activation.memory.memory();
        let receiver = &mut active.receivers[index];
        let pair = &mut self.pairs[index];
        let mut service = Service::of(&mut active.activation, 2 * index, &memory);
        service.queue.disable_notifications(&memory)?;
        let mut any = false;
        for _ in 0..FRAMES {
            match receiver.receive(&mut service, pair.fd())? {
                Received::Frame(bytes) => {
                    any = true;
                    self.counts.rx_frames += 1;
                    self.counts.rx_bytes += bytes;
                    continue;
                }
                Received::Nothing => {}
                Received::NoBuffers => {
                    self.counts.rx_waits += 1;
                    pair.shut();
                }
                Received::Failed(error) => {
                    self.counts.host_errors += 1;
                    host_warn!(%error, "frames can't be read from an interface");
                    pair.shut();
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

    /// Takes a pair's frames from the driver.
    fn send(&mut self, active: &mut Active, pair: usize) -> Result<Progress, Stop> {
        let memory = active.activation.memory.memory();
        let mut service = Service::of(&mut active.activation, 2 * pair + 1, &memory);
        service.queue.disable_notifications(&memory)?;
        let mut pauses = PAUSES;
        for _ in 0..FRAMES {
            let Some(chain) = next_frame(&mut service, &mut pauses)? else {
                return Ok(Progress::Idle);
            };
            match send(&chain, &memory, self.pairs[pair].fd()) {
                Outcome::Sent(bytes) => {
                    self.counts.tx_frames += 1;
                    self.counts.tx_bytes += bytes;
                }
                Outcome::Dropped => self.counts.tx_dropped += 1,
            }
            service.queue.complete(&memory, chain, 0)?;
        }
        service.signal()?;
        Ok(Progress::More)
    }

    /// Does what the driver asks for.
    fn control(&mut self, active: &mut Active, queue: usize) -> Result<Progress, Stop> {
        let memory = active.activation.memory.memory();
        let mut service = Service::of(&mut active.activation, queue, &memory);
        service.run(|chain| Ok(control::obey(chain, &memory, &mut self.pairs)?))
    }

    fn shut(&mut self) {
        for pair in &mut self.pairs {
            pair.shut();
        }
    }

    /// Runs `work` if the device is active; stops it if its driver breaks it.
    fn guarded(
        &mut self,
        work: impl FnOnce(&mut Self, &mut Active) -> Result<Progress, Stop>,
    ) -> Result<Progress, DeviceError> {
        let stopped = |net: &mut Self, active: Active, stop: Stop| {
            net.shut();
            let interrupt = &*active.activation.interrupt;
            stop.report(KIND, interrupt, &mut net.counts.guest_errors)
        };
        while_active(self, |net| &mut net.active, work, stopped)
    }
}

impl VirtioDevice for Net {
    fn kind(&self) -> u32 {
        KIND
    }

    fn features(&self) -> u64 {
        self.offer.features
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.offer.queue_sizes
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        self.offer.read(offset, data);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let failed = |doing| move |source| ActivateError { doing, source };
        let offloads = Offloads::taken_by(activation.features);
        let first = &mut self.pairs[0];
        first
            .set_offloads(offloads)
            .map_err(failed("tell the interface what its driver takes"))?;
        first.open().map_err(failed("watch the interface"))?;
        let receiver = || Receiver::new(activation.features, self.offer.interface.mtu);
        self.active = Some(Active {
            receivers: self.pairs.iter().map(|_| receiver()).collect(),
            control: control::queue(activation.features, self.pairs.len()),
            activation,
        });
        Ok(())
    }

    fn reset(&mut self) {
        self.active = None;
        self.shut();
        if let Err(error) = control::set_used(&mut self.pairs, 1) {
            host_warn!(%error, "an interface's queues can't be switched");
        }
    }

    fn process_queue(&mut self, queue: usize) -> Result<Progress, DeviceError> {
        self.guarded(|net, active| match queue {
            _ if active.control == Some(queue) => net.control(active, queue),
            _ if queue / 2 >= net.pairs.len() => Ok(Progress::Idle),
            _ if queue.is_multiple_of(2) => {
                if let Err(error) = net.pairs[queue / 2].open() {
                    host_warn!(%error, "an interface can't be watched");
                }
                net.receive(active, queue / 2)
            }
            _ => net.send(active, queue / 2),
        })
    }

    fn host_fds(&self) -> io::Result<Vec<OwnedFd>> {
        self.pairs.iter().map(Pair::watch).collect()
    }

    fn process_host_event(&mut self, index: usize) -> Result<Progress, DeviceError> {
        self.guarded(|net, active| net.receive(active, index))
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
