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

/// A serial port that writes what the guest sends to `W`, byte by byte, and flushes after each: a `W` that buffers
/// decides for itself when to do that.
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
