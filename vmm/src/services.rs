//! What a guest can reach of this process, by port.
//!
//! Until the agent has said that it is ready nobody else runs in the guest; from then on its containers may,
//! and those that may open a socket of this family could speak for the agent. So the streams that carry logs
//! can only be begun before.

use std::io::{self, Write};
use std::sync::Arc;

use vmm_devices::guest_warn;

use crate::console::Console;
use crate::log::{self, LogEnd, Logs};
use crate::milestone::Milestone;
use crate::vsock::{Connect, HostEnd, READY_PORT};

/// The guest's port for what its kernel has to say. A serial port takes every byte by itself, which
/// costs a guest more time than all else that it does while booting.
const KERNEL_LOG_PORT: u32 = 1026;

/// The services: being told that the agent is ready, and taking containers' output and the kernel's.
pub(crate) fn for_guest(logs: &Arc<Logs>, ready: &Arc<Milestone<()>>, console: Console) -> Connect {
    let (logs, ready) = (Arc::clone(logs), Arc::clone(ready));
    Box::new(move |port| match port {
        // Saying so again, after we were slow to answer, changes nothing.
        READY_PORT => {
            ready.reach(());
            Some(Box::new(Silence))
        }
        log::PORT | KERNEL_LOG_PORT if ready.is_reached() => {
            guest_warn!(
                port,
                "a stream for logs is refused: only a guest's agent has one, from before it was ready"
            );
            None
        }
        log::PORT => Some(Box::new(LogEnd::new(Arc::clone(&logs)))),
        KERNEL_LOG_PORT => Some(Box::new(KernelLog(console.another()))),
        _ => None,
    })
}

/// An end that takes everything and says nothing: that the guest has connected is all it has to say.
struct Silence;

impl HostEnd for Silence {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
}

/// An end whose lines go where those of the serial console go.
struct KernelLog(Console);

impl HostEnd for KernelLog {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    #[test]
    fn a_guest_that_connects_to_the_ready_port_is_ready() {
        let ready = Arc::new(Milestone::new().unwrap());
        let (file, _) = console_file();
        let console = Console::new(file, 0).unwrap();
        let mut connect = for_guest(&Arc::default(), &ready, console);
        assert!(connect(log::PORT).is_some());
        assert!(!ready.is_reached());
        assert!(connect(READY_PORT).is_some());
        assert!(ready.is_reached());
        assert!(connect(22).is_none());
    }

    #[test]
    fn containers_can_not_begin_streams_for_logs() {
        let ready = Arc::new(Milestone::new().unwrap());
        let console = Console::new(console_file().0, 0).unwrap();
        let mut connect = for_guest(&Arc::default(), &ready, console);
        for port in [log::PORT, KERNEL_LOG_PORT, log::PORT] {
            assert!(connect(port).is_some(), "the agent may try again");
        }
        assert!(connect(READY_PORT).is_some());
        assert!(connect(log::PORT).is_none());
        assert!(connect(KERNEL_LOG_PORT).is_none());
        assert!(
            connect(READY_PORT).is_some(),
            "an answer may have been late"
        );
    }

    #[test]
    fn what_the_kernel_says_is_kept_with_the_console() {
        let ready = Arc::new(Milestone::new().unwrap());
        let (file, mut read) = console_file();
        let console = Console::new(file, 0).unwrap();
        let mut connect = for_guest(&Arc::default(), &ready, console);
        let mut end = connect(KERNEL_LOG_PORT).unwrap();
        assert_eq!(end.write(b"[    0.000000] Linux\nrest").unwrap(), 25);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "[    0.000000] Linux\n");
    }

    /// A file that is gone with its descriptors, and another look at it.
    fn console_file() -> (File, File) {
        let file = tempfile::NamedTempFile::new().unwrap();
        (file.reopen().unwrap(), file.into_file())
    }
}
