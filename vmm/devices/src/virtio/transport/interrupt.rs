//! How a device behind this transport reaches its driver.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering::SeqCst};

use vmm_sys_util::eventfd::EventFd;

use crate::pci::msix::Msix;
use crate::{Interrupt, host_warn};

/// virtio 1.2 §4.1.5.1.2: what the vector registers read when there is no vector.
pub(super) const NO_VECTOR: u16 = 0xffff;

const ISR_QUEUE: u8 = 1;
const ISR_CONFIG: u8 = 2;

/// The registers that both the driver and the device's thread use.
pub(super) struct VirtioInterrupt {
    msix: Arc<Msix>,
    config_vector: AtomicU16,
    queue_vectors: Vec<AtomicU16>,
    isr: AtomicU8,
    generation: AtomicU8,
    broken: AtomicBool,
}

impl VirtioInterrupt {
    pub(super) fn new(msix: Arc<Msix>, queues: usize) -> Self {
        Self {
            msix,
            config_vector: AtomicU16::new(NO_VECTOR),
            queue_vectors: (0..queues).map(|_| AtomicU16::new(NO_VECTOR)).collect(),
            isr: AtomicU8::new(0),
            generation: AtomicU8::new(0),
            broken: AtomicBool::new(false),
        }
    }

    pub(super) fn msix(&self) -> &Msix {
        &self.msix
    }

    pub(super) fn reset(&self) {
        self.broken.store(false, SeqCst);
        self.isr.store(0, SeqCst);
        self.config_vector.store(NO_VECTOR, SeqCst);
        for vector in &self.queue_vectors {
            self.unbind(vector.swap(NO_VECTOR, SeqCst));
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(SeqCst)
    }

    pub(super) fn generation(&self) -> u8 {
        self.generation.load(SeqCst)
    }

    /// Reading the interrupt status clears it.
    pub(super) fn take_isr(&self) -> u8 {
        self.isr.swap(0, SeqCst)
    }

    /// The vector for configuration changes, or of `queue`.
    pub(super) fn vector(&self, queue: Option<u16>) -> u16 {
        self.register(queue).map_or(NO_VECTOR, |r| r.load(SeqCst))
    }

    /// Chooses it. One that does not exist becomes no vector, which the driver reads back.
    pub(super) fn set_vector(&self, queue: Option<u16>, vector: u16) {
        let chosen = if self.msix.has(vector) {
            vector
        } else {
            NO_VECTOR
        };
        if let Some(register) = self.register(queue) {
            self.unbind(register.swap(chosen, SeqCst));
        }
    }

    /// What a queue's events raised is another vector's business now, or nobody's.
    fn unbind(&self, vector: u16) {
        if let Err(error) = self.msix.unbind(vector) {
            host_warn!(vector, %error, "an interrupt vector stays bound");
        }
    }

    fn register(&self, queue: Option<u16>) -> Option<&AtomicU16> {
        match queue {
            None => Some(&self.config_vector),
            Some(queue) => self.queue_vectors.get(usize::from(queue)),
        }
    }

    fn raise(&self, cause: u8, queue: Option<u16>) -> io::Result<()> {
        self.isr.fetch_or(cause, SeqCst);
        match self.vector(queue) {
            NO_VECTOR => Ok(()),
            vector => self.msix.trigger(vector),
        }
    }
}

impl Interrupt for VirtioInterrupt {
    fn signal_queue(&self, queue: u16) -> io::Result<()> {
        self.raise(ISR_QUEUE, Some(queue))
    }

    fn bind_queue(&self, queue: u16, event: &Arc<EventFd>) -> io::Result<()> {
        match self.vector(Some(queue)) {
            NO_VECTOR => Ok(()),
            vector => self.msix.bind(vector, event),
        }
    }

    fn signal_config(&self) -> io::Result<()> {
        self.generation.fetch_add(1, SeqCst);
        self.raise(ISR_CONFIG, None)
    }

    fn needs_reset(&self) {
        self.broken.store(true, SeqCst);
        // virtio 1.2 §2.1.2: a driver that is ready is told, and only such a one has an active
        // device.
        if let Err(error) = self.signal_config() {
            host_warn!(%error, "a driver can't be told to reset its device");
        }
    }
}
