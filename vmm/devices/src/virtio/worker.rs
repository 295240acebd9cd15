//! The half of a virtio device that the I/O thread holds: descriptors to watch, and what to do then.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use parking_lot::Mutex;
use vmm_sys_util::eventfd::EventFd;

use super::{DeviceError, Progress, VirtioDevice};

/// A device as transport and worker share it.
pub(super) type SharedVirtio = Arc<Mutex<Box<dyn VirtioDevice>>>;

/// Runs a device's queues on the I/O thread.
///
/// Watch each of [`Worker::fds`] for input (level-triggered) and call [`Worker::handle`] with its
/// position when there is some. Stop watching before the worker is dropped.
pub struct Worker {
    device: SharedVirtio,
    notifiers: Arc<[EventFd]>,
    host_fds: Vec<OwnedFd>,
}

impl Worker {
    pub(super) fn new(device: SharedVirtio, notifiers: Arc<[EventFd]>) -> io::Result<Self> {
        let host_fds = device.lock().host_fds()?;
        Ok(Self {
            device,
            notifiers,
            host_fds,
        })
    }

    /// The descriptors to watch, in the order of their tokens; open as long as the worker exists.
    pub fn fds(&self) -> Vec<RawFd> {
        let notifiers = self.notifiers.iter().map(AsRawFd::as_raw_fd);
        notifiers
            .chain(self.host_fds.iter().map(AsRawFd::as_raw_fd))
            .collect()
    }

    /// Does what input at the descriptor with position `token` calls for. An `Err` means that this
    /// device can't work any more, for a reason of the host's.
    pub fn handle(&self, token: usize) -> Result<(), DeviceError> {
        let Some(notifier) = self.notifiers.get(token) else {
            let index = token - self.notifiers.len();
            let progress = self.device.lock().process_host_event(index)?;
            return self.again(progress, 0);
        };
        match notifier.read() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                return Err(DeviceError::Event(error));
            }
            _ => {}
        }
        let progress = self.device.lock().process_queue(token)?;
        self.again(progress, token)
    }

    /// Comes back to `queue` after the other devices had their turn, if there is more to do.
    fn again(&self, progress: Progress, queue: usize) -> Result<(), DeviceError> {
        match (progress, self.notifiers.get(queue)) {
            (Progress::More, Some(notifier)) => signal(notifier).map_err(DeviceError::Event),
            _ => Ok(()),
        }
    }

    /// What the device has counted, by name.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.device.lock().counters()
    }
}

/// Makes `notifier` readable.
pub(super) fn signal(notifier: &EventFd) -> io::Result<()> {
    match notifier.write(1) {
        // The counter is at its end, so it is readable.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        written => written,
    }
}
