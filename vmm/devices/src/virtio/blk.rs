//! virtio-blk: a disk whose requests are carried out at once, straight into and out of guest memory
//! (virtio 1.2 §5.2).

mod config;
pub mod disk;
pub mod extents;
mod guest_io;
mod request;
pub mod serial_number;

pub use self::disk::{Disk, DiskError};
pub use self::extents::Extent;
use self::request::Outcome;
pub use self::serial_number::{SerialNumber, SerialNumberError};
use super::service;
use super::{ActivateError, Activation, DeviceError, Progress, VirtioDevice};

/// Device type.
pub const KIND: u32 = 2;

const QUEUE_SIZE: u16 = 256;
const QUEUE_SIZES: [u16; 1] = [QUEUE_SIZE];

/// The device.
pub struct Blk {
    disk: Disk,
    serial_number: SerialNumber,
    active: Option<Activation>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    requests: u64,
    read_bytes: u64,
    written_bytes: u64,
    /// Requests that failed because of the host.
    io_errors: u64,
    /// Requests that no driver should make.
    refused: u64,
    guest_errors: u64,
}

impl Blk {
    /// A device for `disk`. Its serial number is what a guest tells disks apart by.
    pub fn new(disk: Disk, serial_number: SerialNumber) -> Self {
        Self {
            disk,
            serial_number,
            active: None,
            counts: Counts::default(),
        }
    }
}

impl Counts {
    fn add(&mut self, outcome: Outcome) {
        self.requests += 1;
        match outcome {
            Outcome::Read(bytes) => self.read_bytes += bytes,
            Outcome::Written(bytes) => self.written_bytes += bytes,
            Outcome::Done => {}
            Outcome::Failed => self.io_errors += 1,
            Outcome::Refused | Outcome::Unsupported => self.refused += 1,
        }
    }
}

impl VirtioDevice for Blk {
    fn kind(&self) -> u32 {
        KIND
    }

    fn features(&self) -> u64 {
        config::features(&self.disk)
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        super::config::read(&config::bytes(&self.disk, QUEUE_SIZE), offset, data);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        self.active = Some(activation);
        Ok(())
    }

    fn reset(&mut self) {
        self.active = None;
    }

    fn process_queue(&mut self, _queue: usize) -> Result<Progress, DeviceError> {
        let Self {
            disk,
            serial_number,
            active,
            counts,
        } = self;
        let mut guest_errors = 0;
        let progress = service::run_only_queue(active, KIND, &mut guest_errors, |memory, chain| {
            let (outcome, written) = request::serve(chain, memory, disk, serial_number)?;
            counts.add(outcome);
            Ok(written)
        });
        counts.guest_errors += guest_errors;
        progress
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("blk_requests", self.counts.requests),
            ("blk_read_bytes", self.counts.read_bytes),
            ("blk_written_bytes", self.counts.written_bytes),
            ("blk_io_errors", self.counts.io_errors),
            ("blk_refused", self.counts.refused),
            ("blk_guest_errors", self.counts.guest_errors),
        ]
    }
}

#[cfg(test)]
mod tests;
