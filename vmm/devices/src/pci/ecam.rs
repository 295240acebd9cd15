//! Enhanced configuration access: configuration space in memory (PCI Express 5.0 §7.2.2).

use std::sync::Arc;

use super::PciRoot;
use crate::bus::MmioDevice;

/// Bytes of configuration space of one bus, which is all the window there has to be.
pub const BUS_SIZE: u64 = 1 << 20;

/// The memory window through which a guest reaches configuration space, from bus 0 on.
pub struct Ecam {
    root: Arc<PciRoot>,
}

impl Ecam {
    /// A window onto `root`'s bus.
    pub fn new(root: Arc<PciRoot>) -> Self {
        Self { root }
    }
}

impl MmioDevice for Ecam {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        match decode(offset, data.len()) {
            Some((slot, register)) => self.root.read_config(slot, register, data),
            None => data.fill(0xff),
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if let Some((slot, register)) = decode(offset, data.len()) {
            self.root.write_config(slot, register, data);
        }
    }
}

/// Slot and register of function 0 on bus 0; nothing else exists.
fn decode(offset: u64, len: usize) -> Option<(u8, u16)> {
    let register = u16::try_from(offset & 0xfff).ok()?;
    let slot = u8::try_from(offset >> 15 & 0x1f).ok()?;
    let (bus, function) = (offset >> 20, offset >> 12 & 0x7);
    let fits = usize::from(register) + len <= 0x1000;
    (bus == 0 && function == 0 && fits).then_some((slot, register))
}
