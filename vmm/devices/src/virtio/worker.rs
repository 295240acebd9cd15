//! The half of a virtio device that the I/O thread holds: descriptors to watch, and what to do
//! then.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
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
    /// By token.
    sources: Vec<Source>,
}

/// What has a descriptor to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The driver's notifications of a queue.
    Queue(usize),
    /// The host's side, by its index.
    Host(usize),
}

impl Worker {
    pub(super) fn new(device: SharedVirtio, notifiers: Arc<[EventFd]>) -> io::Result<Self> {
        let (host_fds, sources) = {
            let device = device.lock();
            let host_fds = device.host_fds()?;
            let queues = 0..notifiers.len();
            let ours = queues.filter(|queue| !device.is_served_elsewhere(*queue));
            let host = (0..host_fds.len()).map(Source::Host);
            (host_fds, ours.map(Source::Queue).chain(host).collect())
        };
        Ok(Self {
            device,
            notifiers,
            host_fds,
            sources,
        })
    }

    /// The descriptors to watch, in the order of their tokens; open as long as the worker exists.
    pub fn fds(&self) -> Vec<RawFd> {
        let fd = |source: &Source| match *source {
            Source::Queue(queue) => self.notifiers[queue].as_raw_fd(),
            Source::Host(index) => self.host_fds[index].as_raw_fd(),
        };
        self.sources.iter().map(fd).collect()
    }

    /// Does what input at the descriptor with position `token` calls for. An `Err` means that this
    /// device can't work any more, for a reason of the host's.
    pub fn handle(&self, token: usize) -> Result<(), DeviceError> {
        match self.sources[token] {
            Source::Queue(queue) => self.notified(queue),
            Source::Host(index) => {
                let progress = self.device.lock().process_host_event(index)?;
                self.again(progress, 0)
            }
        }
    }

    fn notified(&self, queue: usize) -> Result<(), DeviceError> {
        match self.notifiers[queue].read() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                return Err(DeviceError::Event(error));
            }
            _ => {}
        }
        let progress = self.device.lock().process_queue(queue)?;
        self.again(progress, queue)
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

/// An event descriptor to watch.
#[expect(unsafe_code, reason = "event descriptors come as numbers")]
pub(super) fn descriptor(event: EventFd) -> OwnedFd {
    // UNSAFETY: a number says nothing about who closes it.
    // SAFETY: `into_raw_fd` gives up an open descriptor that nothing else owns.
    unsafe { OwnedFd::from_raw_fd(event.into_raw_fd()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::{ActivateError, Activation};
    use vmm_sys_util::eventfd::EFD_NONBLOCK;

    /// A device that has more to do a given number of times. Its second queue is somebody else's.
    struct Busy(usize);

    impl VirtioDevice for Busy {
        fn kind(&self) -> u32 {
            0
        }
        fn features(&self) -> u64 {
            0
        }
        fn queue_sizes(&self) -> &[u16] {
            &[1]
        }
        fn is_served_elsewhere(&self, queue: usize) -> bool {
            queue == 1
        }
        fn read_config(&self, _offset: u64, _data: &mut [u8]) {}
        fn write_config(&mut self, _offset: u64, _data: &[u8]) {}
        fn activate(&mut self, _activation: Activation) -> Result<(), ActivateError> {
            Ok(())
        }
        fn reset(&mut self) {}
        fn process_queue(&mut self, _queue: usize) -> Result<Progress, DeviceError> {
            let more = self.0 > 0;
            self.0 = self.0.saturating_sub(1);
            Ok(if more { Progress::More } else { Progress::Idle })
        }
        fn host_fds(&self) -> io::Result<Vec<OwnedFd>> {
            Ok(vec![std::fs::File::open("/dev/null")?.into()])
        }
        fn process_host_event(&mut self, _index: usize) -> Result<Progress, DeviceError> {
            Ok(Progress::More)
        }
    }

    fn worker(more: usize) -> (Worker, EventFd) {
        let notifier = EventFd::new(EFD_NONBLOCK).unwrap();
        let ours = notifier.try_clone().unwrap();
        let elsewhere = EventFd::new(EFD_NONBLOCK).unwrap();
        let device: SharedVirtio = Arc::new(Mutex::new(Box::new(Busy(more))));
        let notifiers = Arc::from([notifier, elsewhere]);
        (Worker::new(device, notifiers).unwrap(), ours)
    }

    #[test]
    fn a_device_with_more_to_do_is_called_again_after_the_others() {
        let (worker, notifier) = worker(1);
        notifier.write(5).unwrap();
        worker.handle(0).unwrap();
        assert_eq!(notifier.read().unwrap(), 1);
        worker.handle(0).unwrap();
        assert!(notifier.read().is_err(), "all is done");
    }

    #[test]
    fn what_the_host_began_goes_on_with_the_queue() {
        let (worker, notifier) = worker(0);
        assert_eq!(worker.fds().len(), 2);
        worker.handle(1).unwrap();
        assert_eq!(notifier.read().unwrap(), 1);
    }
}
