//! One block request: header, data, status (virtio 1.2 §5.2.6).

use std::io;
use std::ops::Range;

use vm_memory::GuestMemoryMmap;

use super::config::{MAX_RANGE_SECTORS, MAX_RANGES};
use super::disk::{Disk, SECTOR, Writable};
use super::serial_number::SerialNumber;
use crate::host_warn;
use crate::virtio::chain::{Chain, ChainTooShort, Cursor};
use crate::virtio::service::Fault;

const TYPE_IN: u32 = 0;
const TYPE_OUT: u32 = 1;
const TYPE_FLUSH: u32 = 4;
const TYPE_GET_ID: u32 = 8;
const TYPE_DISCARD: u32 = 11;
const TYPE_WRITE_ZEROES: u32 = 13;

const STATUS_OK: u8 = 0;
const STATUS_IOERR: u8 = 1;
const STATUS_UNSUPP: u8 = 2;

const FLAG_UNMAP: u32 = 1;
/// Bytes of one range of a discard or write-zeroes request.
const RANGE_SIZE: u64 = 16;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// So many bytes were read.
    Read(u64),
    /// So many bytes were written.
    Written(u64),
    /// It was done.
    Done,
    /// The host failed.
    Failed,
    /// It makes no sense for this disk.
    Refused,
    /// There is no such request.
    Unsupported,
}

impl Outcome {
    fn status(self) -> u8 {
        match self {
            Self::Read(_) | Self::Written(_) | Self::Done => STATUS_OK,
            Self::Failed | Self::Refused => STATUS_IOERR,
            Self::Unsupported => STATUS_UNSUPP,
        }
    }
}

/// Carries the request in `chain` out and writes its status. Gives the number of bytes written into
/// the chain. A chain without room for header and status is no request at all.
pub(super) fn serve(
    chain: &Chain,
    memory: &GuestMemoryMmap,
    disk: &Disk,
    serial_number: &SerialNumber,
) -> Result<(Outcome, u32), Fault> {
    let mut reader = chain.reader(memory);
    let mut header = [0; 16];
    reader.read(&mut header)?;
    let mut writer = chain.writer(memory);
    let room = writer.remaining().checked_sub(1).ok_or(ChainTooShort {
        wanted: 1,
        remaining: 0,
    })?;
    let mut data = chain.writer(memory).limited(room);
    let request = Request {
        kind: u32::from_le_bytes([header[0], header[1], header[2], header[3]]),
        sector: u64::from_le_bytes(header[8..].try_into().expect("eight bytes are left")),
    };
    let outcome = request.carry_out(disk, serial_number, &mut reader, &mut data);
    writer.skip(room)?;
    writer.write(&[outcome.status()])?;
    let written = match outcome {
        Outcome::Read(_) => room + 1,
        // Data that is not there is not counted, and the status comes after it.
        _ => 1,
    };
    Ok((outcome, u32::try_from(written).unwrap_or(u32::MAX)))
}

struct Request {
    kind: u32,
    sector: u64,
}

impl Request {
    fn carry_out(
        &self,
        disk: &Disk,
        serial_number: &SerialNumber,
        reader: &mut Cursor<'_>,
        data: &mut Cursor<'_>,
    ) -> Outcome {
        match (self.kind, disk.writable()) {
            (TYPE_IN, _) => self.read(disk, data),
            (TYPE_GET_ID, _) => get_id(serial_number, data),
            (TYPE_OUT, Some(writable)) => self.write(disk, writable, reader),
            (TYPE_FLUSH, Some(writable)) => outcome(writable.flush(), Outcome::Done),
            (TYPE_DISCARD, Some(writable)) => {
                each_range(disk, reader, |range, flags| match flags {
                    0 => outcome(writable.discard(range), Outcome::Done),
                    _ => Outcome::Unsupported,
                })
            }
            (TYPE_WRITE_ZEROES, Some(writable)) => {
                each_range(disk, reader, |range, flags| match flags {
                    0 => outcome(writable.write_zeroes(range), Outcome::Done),
                    FLAG_UNMAP => outcome(writable.discard(range), Outcome::Done),
                    _ => Outcome::Unsupported,
                })
            }
            (TYPE_OUT, None) => Outcome::Refused,
            _ => Outcome::Unsupported,
        }
    }

    fn read(&self, disk: &Disk, data: &mut Cursor<'_>) -> Outcome {
        let len = data.remaining();
        match range(disk, self.sector, len) {
            Some(range) => outcome(disk.read(range, data), Outcome::Read(len)),
            None => Outcome::Refused,
        }
    }

    fn write(&self, disk: &Disk, writable: &Writable, reader: &mut Cursor<'_>) -> Outcome {
        let len = reader.remaining();
        match range(disk, self.sector, len) {
            Some(range) => outcome(writable.write(range, reader), Outcome::Written(len)),
            None => Outcome::Refused,
        }
    }
}

fn get_id(serial_number: &SerialNumber, data: &mut Cursor<'_>) -> Outcome {
    match data.write(serial_number.as_bytes()) {
        Ok(()) => Outcome::Read(SerialNumber::SIZE as u64),
        Err(_) => Outcome::Refused,
    }
}

/// Does `each` range of a discard or write-zeroes request, until one does not succeed. They are
/// read once, and as they are done.
fn each_range(
    disk: &Disk,
    reader: &mut Cursor<'_>,
    each: impl Fn(Range<u64>, u32) -> Outcome,
) -> Outcome {
    let len = reader.remaining();
    if !len.is_multiple_of(RANGE_SIZE) || len > RANGE_SIZE * u64::from(MAX_RANGES) {
        return Outcome::Refused;
    }
    let mut bytes = [0; 16];
    while reader.read(&mut bytes).is_ok() {
        let (sector, rest) = bytes.split_first_chunk().expect("a range has 16 bytes");
        let (count, rest) = rest.split_first_chunk().expect("a range has 16 bytes");
        let (flags, _) = rest.split_first_chunk().expect("a range has 16 bytes");
        let count = u32::from_le_bytes(*count);
        let range = range(disk, u64::from_le_bytes(*sector), u64::from(count) * SECTOR);
        let done = match range {
            Some(range) if count <= MAX_RANGE_SECTORS => each(range, u32::from_le_bytes(*flags)),
            _ => Outcome::Refused,
        };
        if done != Outcome::Done {
            return done;
        }
    }
    Outcome::Done
}

/// The bytes of the disk that `len` bytes from `sector` on are, if they are whole sectors of it.
fn range(disk: &Disk, sector: u64, len: u64) -> Option<Range<u64>> {
    let start = sector.checked_mul(SECTOR)?;
    let end = start.checked_add(len)?;
    (len.is_multiple_of(SECTOR) && end <= disk.len()).then_some(start..end)
}

fn outcome(result: io::Result<()>, success: Outcome) -> Outcome {
    match result {
        Ok(()) => success,
        Err(error) => {
            host_warn!(%error, "a disk request failed");
            Outcome::Failed
        }
    }
}
