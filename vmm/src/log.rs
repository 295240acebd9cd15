//! Container output that leaves the guest on a vsock connection of its agent, and where it is written.
//!
//! A frame is `u32` length of what follows, `u8` kind, `u8` stream, `u16` key length, the key, the
//! payload; little endian. The guest sends data and, when a container's output is complete, an end
//! frame; the answer to that is an acknowledgement, after which nothing of the output can be lost any
//! more. The guest says which container it speaks of, but only the host says which file that is.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use cri_log::{ContainerLog, Stream};
use parking_lot::Mutex;

use crate::vsock::HostEnd;

mod frame;

use frame::{Frame, Frames, Kind};

/// The guest's port for output.
pub(crate) const PORT: u32 = 1025;

/// Most bytes of acknowledgements that the guest may leave unread, beyond what it has told us to have
/// room for.
const MAX_UNREAD: usize = 64 * 1024;

/// The log files of all containers of the machine.
#[derive(Debug, Default)]
pub struct Logs {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    logs: HashMap<String, ContainerLog>,
    counters: Counters,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    bytes: u64,
    unknown_bytes: u64,
    dropped_lines: u64,
}

impl Logs {
    /// Appends the output of `container` to `file` from now on. If it had a file before, that one gets
    /// whole lines only, and not one more when this returns.
    pub fn open(&self, container: &str, file: File) {
        let mut table = self.table.lock();
        match table.logs.get_mut(container) {
            Some(log) => log.reopen(file),
            None => {
                table
                    .logs
                    .insert(container.to_owned(), ContainerLog::new(file));
            }
        }
    }

    /// Forgets the file of `container`, after what it left unterminated has been written. Idempotent.
    pub fn close(&self, container: &str) {
        let mut table = self.table.lock();
        if let Some(log) = table.logs.remove(container) {
            table.finish(log);
        }
    }

    /// Writes all that is left: the machine is over.
    pub fn finish(&self) {
        let mut table = self.table.lock();
        for log in table.logs.values_mut() {
            log.finish();
        }
    }

    /// What has been counted, by name.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let table = self.table.lock();
        let open: u64 = table.logs.values().map(|log| log.dropped().lines).sum();
        let Counters {
            bytes,
            unknown_bytes,
            dropped_lines,
        } = table.counters;
        vec![
            ("log_bytes", bytes),
            ("log_unknown_container_bytes", unknown_bytes),
            ("log_dropped_lines", dropped_lines + open),
        ]
    }

    fn write(&self, container: &str, stream: Stream, bytes: &[u8]) {
        let mut table = self.table.lock();
        match table.logs.get_mut(container) {
            Some(log) => {
                log.write(stream, bytes);
                table.counters.bytes += bytes.len() as u64;
            }
            None => table.counters.unknown_bytes += bytes.len() as u64,
        }
    }

    fn end(&self, container: &str) {
        if let Some(log) = self.table.lock().logs.get_mut(container) {
            log.finish();
        }
    }
}

impl Table {
    fn finish(&mut self, mut log: ContainerLog) {
        log.finish();
        self.counters.dropped_lines += log.dropped().lines;
    }
}

/// The host's end of a guest's log connection.
#[derive(Debug)]
pub(crate) struct LogEnd {
    logs: Arc<Logs>,
    frames: Frames,
    /// Acknowledgements on their way to the guest.
    unread: Vec<u8>,
}

impl LogEnd {
    /// An end that writes to `logs`.
    pub(crate) fn new(logs: Arc<Logs>) -> Self {
        Self {
            logs,
            frames: Frames::default(),
            unread: Vec::new(),
        }
    }
}

impl HostEnd for LogEnd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = buffer.len().min(self.unread.len());
        buffer[..len].copy_from_slice(&self.unread[..len]);
        self.unread.drain(..len);
        Ok(len)
    }

    /// An error means that the guest does not speak the protocol, and ends the connection.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unread.len() > MAX_UNREAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let Self {
            logs,
            frames,
            unread,
        } = self;
        frames
            .push(bytes, |Frame { kind, key, payload }| match kind {
                Kind::Data(stream) => logs.write(key, stream, payload),
                Kind::End => {
                    logs.end(key);
                    frame::acknowledge(key, unread);
                }
            })
            .map_err(|malformed| io::Error::new(io::ErrorKind::InvalidData, malformed))?;
        Ok(bytes.len())
    }
}

#[cfg(test)]
mod tests;
