//! Configuration access through ports 0xcf8 and 0xcfc, which kernels probe before they know of ECAM.

use std::sync::Arc;

use super::PciRoot;
use crate::bus::MmioDevice;

/// First port.
pub const FIRST_PORT: u64 = 0xcf8;
/// Number of ports.
pub const PORTS: u64 = 8;

const ENABLE: u32 = 1 << 31;

/// The address register and the data window behind it.
pub struct ConfigPorts {
    root: Arc<PciRoot>,
    address: u32,
}

impl ConfigPorts {
    /// Ports onto `root`'s bus.
    pub fn new(root: Arc<PciRoot>) -> Self {
        Self { root, address: 0 }
    }

    /// Slot and register that an access to data port `offset` means.
    fn selected(&self, offset: u64, len: usize) -> Option<(u8, u16)> {
        let [register, slot_and_function, bus, _] = self.address.to_le_bytes();
        let in_register = u16::try_from(offset.checked_sub(4)?).ok()?;
        let fits = usize::from(in_register) + len <= 4;
        let exists = self.address & ENABLE != 0 && bus == 0 && slot_and_function & 7 == 0;
        (fits && exists).then_some((
            slot_and_function >> 3,
            u16::from(register & 0xfc) + in_register,
        ))
    }
}

impl MmioDevice for ConfigPorts {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        match self.selected(offset, data.len()) {
            Some((slot, register)) => self.root.read_config(slot, register, data),
            None if offset == 0 && data.len() == 4 => {
                data.copy_from_slice(&self.address.to_le_bytes());
            }
            None => data.fill(0xff),
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        // Only a whole double word is the address; port 0xcf9 alone is a reset register elsewhere.
        if let (0, Ok(address)) = (offset, <[u8; 4]>::try_from(data)) {
            self.address = u32::from_le_bytes(address) & !3;
        } else if let Some((slot, register)) = self.selected(offset, data.len()) {
            self.root.write_config(slot, register, data);
        }
    }
}
