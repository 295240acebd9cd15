//! virtio-fs: a file system of the host's, which another process serves (virtio 1.2 §5.11).
//!
//! That process takes requests from guest memory itself, over vhost-user. What stays here is what the
//! guest could use against it: configuration, features, and where the queues are. Notifications pass
//! through the I/O thread both ways.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

mod backend;
mod tag;
mod under_way;

pub use self::backend::ConnectError;
pub use self::tag::{Tag, TagError};

use self::backend::Backend;
use super::worker::{descriptor, signal};
use super::{ActivateError, Activation, DeviceError, Progress, VirtioDevice};
use crate::host_warn;

/// Device type.
pub const KIND: u32 = 26;

/// Requests of high priority, then all others.
const QUEUE_SIZES: [u16; QUEUES] = [128, 512];
const QUEUES: usize = 2;

/// The device.
pub struct Fs {
    tag: Tag,
    backend: Backend,
    doorbells: Vec<Doorbells>,
    active: Option<Activation>,
    notifications: u64,
    interrupts: u64,
}

/// How a queue's two sides wake each other.
struct Doorbells {
    /// The driver made something available.
    kick: EventFd,
    /// The other process used something.
    call: EventFd,
}

impl Doorbells {
    fn new() -> io::Result<Self> {
        let bell = || EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC);
        Ok(Self {
            kick: bell()?,
            call: bell()?,
        })
    }
}

impl Fs {
    /// A device for what is served at the other end of `socket`. Guest memory must be mapped from files,
    /// and nobody else may read from the socket.
    pub fn connect(tag: Tag, socket: UnixStream) -> Result<Self, ConnectError> {
        let doorbells = (0..QUEUES).map(|_| Doorbells::new());
        Ok(Self {
            tag,
            doorbells: doorbells
                .collect::<io::Result<_>>()
                .map_err(ConnectError::Descriptors)?,
            backend: Backend::connect(socket, QUEUES)?,
            active: None,
            notifications: 0,
            interrupts: 0,
        })
    }
}

impl VirtioDevice for Fs {
    fn kind(&self) -> u32 {
        KIND
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        // struct virtio_fs_config: the tag, and the number of queues for requests.
        let mut config = self.tag.bytes().to_vec();
        config.extend(1u32.to_le_bytes());
        super::config::read(&config, offset, data);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let started = self.backend.start(
            &activation.memory,
            activation.features,
            activation.queues.iter().zip(&self.doorbells),
        );
        started.map_err(|source| ActivateError {
            doing: "hand the queues to the process that serves the files",
            source,
        })?;
        self.active = Some(activation);
        Ok(())
    }

    fn reset(&mut self) {
        self.active = None;
        // It may have a queue even if it could not be given all.
        if let Err(error) = self.backend.stop() {
            host_warn!(%error, "the process that serves files does not let go of the guest's memory");
        }
    }

    fn is_quiet(&mut self) -> bool {
        self.backend.is_quiet()
    }

    fn process_queue(&mut self, queue: usize) -> Result<Progress, DeviceError> {
        if let (Some(_), Some(bells)) = (&self.active, self.doorbells.get(queue)) {
            self.notifications += 1;
            signal(&bells.kick).map_err(DeviceError::Event)?;
        }
        Ok(Progress::Idle)
    }

    /// One for each queue, and the socket, on which nothing is heard but the end of the other process.
    fn host_fds(&self) -> io::Result<Vec<OwnedFd>> {
        let calls = self.doorbells.iter();
        let calls = calls.map(|bells| bells.call.try_clone().map(descriptor));
        calls.chain([self.backend.watch()]).collect()
    }

    fn process_host_event(&mut self, index: usize) -> Result<Progress, DeviceError> {
        let Some(bells) = self.doorbells.get(index) else {
            let process = "the process that serves files to the guest";
            let gone = |source| DeviceError::Backend { process, source };
            self.backend.check().map_err(gone)?;
            return Ok(Progress::Idle);
        };
        match bells.call.read() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Progress::Idle),
            read => read.map_err(DeviceError::Event)?,
        };
        if let (Some(active), Ok(queue)) = (&self.active, u16::try_from(index)) {
            self.interrupts += 1;
            let signalled = active.interrupt.signal_queue(queue);
            signalled.map_err(DeviceError::Interrupt)?;
        }
        Ok(Progress::Idle)
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("fs_notifications", self.notifications),
            ("fs_interrupts", self.interrupts),
        ]
    }
}

#[cfg(test)]
mod tests;
