//! virtio-net whose frames the host's kernel moves (vhost-net).
//!
//! The kernel reads the rings in guest memory itself, is woken by the driver's notifications and wakes
//! the driver, all without us. What stays here is what the driver says before and after: features,
//! where the rings are, how many queue pairs it uses, and the end. While an interrupt is masked, or not
//! bound yet, the kernel's call comes to us, and we keep the interrupt.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use vm_memory::GuestAddressSpace;

mod kernel;
mod pair;

pub use self::kernel::{Vhost, VhostError};
use self::pair::{Bell, Pair};
use super::backend::{NetBackend, Offloads};
use super::config::{Interface, Offer, UdpSegments};
use super::control;
use super::{KIND, Tap};
use crate::virtio::service::{Service, Stop, while_active};
use crate::virtio::{ActivateError, Activation, DeviceError, Progress, VirtioDevice};
use crate::{guest_warn, host_warn};

/// The device.
pub struct VhostNet {
    offer: Offer,
    pairs: Vec<Pair>,
    active: Option<Active>,
    counts: Counts,
}

struct Active {
    activation: Activation,
    control: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Interrupts that passed through us.
    interrupts: u64,
    guest_errors: u64,
    /// Times that the kernel would not do what it has to.
    host_errors: u64,
}

impl VhostNet {
    /// A device that is `interface` to the guest, with a queue pair for each of `queues`, one at least.
    pub fn new(interface: Interface, queues: Vec<(Tap, Vhost)>) -> io::Result<Self> {
        let pairs = Pair::all(queues)?;
        let segments = pairs.first().map(|pair| pair.tap.udp_segments());
        let segments = segments.unwrap_or(UdpSegments::Refused);
        Ok(Self {
            offer: Offer::new(interface, pairs.len(), segments),
            pairs,
            active: None,
            counts: Counts::default(),
        })
    }

    fn start(&mut self, activation: &Activation) -> Result<(), ActivateError> {
        let failed = |doing| move |source| ActivateError { doing, source };
        let offloads = Offloads::taken_by(activation.features);
        self.pairs[0]
            .tap
            .set_offloads(offloads)
            .map_err(failed("tell the interface what its driver takes"))?;
        for (index, pair) in self.pairs.iter_mut().enumerate() {
            pair.tell(activation, 2 * index)
                .map_err(failed("tell vhost-net where the rings are"))?;
        }
        self.pairs[0]
            .start()
            .map_err(failed("let vhost-net move frames"))
    }

    /// When it returns, the kernel touches no ring.
    fn stop(&mut self) {
        self.active = None;
        let left = control::set_used(&mut self.pairs, 1);
        let stopped = self.pairs.iter_mut().map(Pair::stop);
        for error in stopped.chain([left]).filter_map(Result::err) {
            self.counts.host_errors += 1;
            host_warn!(%error, "vhost-net does not let go of a ring");
        }
    }

    /// The kernel can't make sense of a ring.
    fn ring_is_broken(&mut self) {
        if let Some(Active { activation, .. }) = self.active.take() {
            self.counts.guest_errors += 1;
            guest_warn!(
                kind = KIND,
                "the driver broke a ring that vhost-net works on"
            );
            self.stop();
            activation.interrupt.needs_reset();
        }
    }

    /// The kernel used buffers of `queue`, and nobody else told the driver.
    fn tell_driver(&mut self, queue: usize, call: &Arc<Bell>) -> Result<(), DeviceError> {
        let (Some(active), Ok(queue)) = (&self.active, u16::try_from(queue)) else {
            return Ok(());
        };
        self.counts.interrupts += 1;
        let interrupt = &active.activation.interrupt;
        interrupt
            .signal_queue(queue)
            .map_err(DeviceError::Interrupt)?;
        if let Err(error) = interrupt.bind_queue(queue, call) {
            host_warn!(%error, "a queue's interrupts go the slow way");
        }
        Ok(())
    }

    fn control(&mut self, queue: usize) -> Result<Progress, DeviceError> {
        let obey = |vhost: &mut Self, active: &mut Active| {
            let memory = active.activation.memory.memory();
            let mut service = Service::of(&mut active.activation, queue, &memory);
            service.run(|chain| Ok(control::obey(chain, &memory, &mut vhost.pairs)?))
        };
        let stopped = |vhost: &mut Self, active: Active, stop: Stop| {
            vhost.stop();
            let interrupt = &*active.activation.interrupt;
            stop.report(KIND, interrupt, &mut vhost.counts.guest_errors)
        };
        while_active(self, |vhost| &mut vhost.active, obey, stopped)
    }
}

impl VirtioDevice for VhostNet {
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
        if let Err(error) = self.start(&activation) {
            self.stop();
            return Err(error);
        }
        self.active = Some(Active {
            control: control::queue(activation.features, self.pairs.len()),
            activation,
        });
        Ok(())
    }

    fn reset(&mut self) {
        self.stop();
    }

    /// All but the control queue.
    fn is_served_elsewhere(&self, queue: usize) -> bool {
        queue < 2 * self.pairs.len()
    }

    fn process_queue(&mut self, queue: usize) -> Result<Progress, DeviceError> {
        match &self.active {
            Some(active) if active.control == Some(queue) => self.control(queue),
            _ => Ok(Progress::Idle),
        }
    }

    /// For each pair, the calls of both queues and the complaints about either.
    fn host_fds(&self) -> io::Result<Vec<OwnedFd>> {
        self.pairs.iter().flat_map(Pair::watch).collect()
    }

    fn process_host_event(&mut self, index: usize) -> Result<Progress, DeviceError> {
        let (pair, bell) = (index / pair::BELLS, index % pair::BELLS);
        let bell_of = Arc::clone(self.pairs[pair].bell(bell));
        match bell_of.read() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Progress::Idle),
            read => read.map_err(DeviceError::Event)?,
        };
        if bell == pair::ERROR {
            self.ring_is_broken();
        } else {
            self.tell_driver(2 * pair + bell, &bell_of)?;
        }
        Ok(Progress::Idle)
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("net_vhost_interrupts", self.counts.interrupts),
            ("net_guest_errors", self.counts.guest_errors),
            ("net_host_errors", self.counts.host_errors),
        ]
    }
}
