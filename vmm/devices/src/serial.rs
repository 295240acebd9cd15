//! The 16550 serial port, whose output is the guest's console.

use std::io::{self, Write};

use vm_superio::{Serial as Uart, Trigger, serial::NoEvents};
use vmm_sys_util::eventfd::EventFd;

use crate::bus::MmioDevice;
use crate::host_warn;

/// First of the eight ports of COM1.
pub const COM1_PORT: u64 = 0x3f8;
/// Number of ports.
pub const PORTS: u64 = 8;
/// COM1's interrupt line.
pub const COM1_IRQ: u32 = 4;

/// An interrupt line as an event descriptor.
struct Line(EventFd);

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// A serial port that writes what the guest sends to `W`, byte by byte, and flushes after each: a
/// `W` that buffers decides for itself when to do that.
pub struct Serial<W: Write> {
    uart: Uart<Line, NoEvents, W>,
}

impl<W: Write> Serial<W> {
    /// A port that raises its interrupt by writing to `interrupt`.
    pub fn new(interrupt: EventFd, output: W) -> Self {
        Self {
            uart: Uart::new(Line(interrupt), output),
        }
    }
}

impl<W: Write + Send> MmioDevice for Serial<W> {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        // Registers are a byte wide; a wider access reaches the first.
        if let (Ok(register), Some(byte)) = (u8::try_from(offset), data.first_mut()) {
            *byte = self.uart.read(register);
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if let (Ok(register), Some(byte)) = (u8::try_from(offset), data.first())
            && let Err(error) = self.uart.write(register, *byte)
        {
            host_warn!(?error, "the serial port lost a byte");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use vmm_sys_util::eventfd::EFD_NONBLOCK;

    use super::*;

    #[derive(Clone, Default)]
    struct Console(Arc<Mutex<Vec<u8>>>);

    impl Write for Console {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            if data == [0] {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.lock().extend(data);
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn serial() -> (Serial<Console>, Console, EventFd) {
        let (interrupt, console) = (EventFd::new(EFD_NONBLOCK).unwrap(), Console::default());
        let serial = Serial::new(interrupt.try_clone().unwrap(), console.clone());
        (serial, console, interrupt)
    }

    #[test]
    fn what_the_guest_prints_is_written() {
        let (mut serial, console, _) = serial();
        for byte in b"Linux version 6.12" {
            serial.write(0, &[*byte]);
        }
        assert_eq!(*console.0.lock(), b"Linux version 6.12");
        let mut status = [0];
        serial.read(5, &mut status);
        assert_eq!(status[0] & 0x60, 0x60, "there is always room for more");
    }

    #[test]
    fn a_driver_that_wants_to_know_of_room_is_interrupted() {
        let (mut serial, _, interrupt) = serial();
        serial.write(1, &[2]);
        assert!(interrupt.read().is_ok());
    }

    #[test]
    fn accesses_of_any_width_at_any_register_are_survived() {
        let (mut serial, _, _) = serial();
        for offset in [0, 1, 7, 8, 300, u64::MAX] {
            for len in 0..9 {
                serial.write(offset, &vec![0x55; len]);
                serial.read(offset, &mut vec![0; len]);
            }
        }
    }

    #[test]
    fn a_byte_that_can_not_be_written_is_lost_and_the_next_is_not() {
        let (mut serial, console, _) = serial();
        serial.write(0, &[0]);
        serial.write(0, b"x");
        assert_eq!(*console.0.lock(), b"x");
    }
}
