//! Configuration access through ports 0xcf8 and 0xcfc, which kernels probe before they know of
//! ECAM.

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Bus;

    fn ports() -> ConfigPorts {
        ConfigPorts::new(PciRoot::new(Arc::new(Bus::new()), 0..0))
    }

    #[track_caller]
    fn check(ports: &mut ConfigPorts, offset: u64, wanted: &[u8]) {
        let mut data = vec![0; wanted.len()];
        ports.read(offset, &mut data);
        assert_eq!(data, wanted);
    }

    #[test]
    fn a_kernel_finds_the_host_bridge() {
        let mut ports = ports();
        ports.write(0, &0x8000_0000u32.to_le_bytes());
        check(&mut ports, 0, &[0, 0, 0, 0x80]);
        check(&mut ports, 4, &[0x36, 0x1b, 8, 0]);
        check(&mut ports, 6, &[8, 0]);
        ports.write(0, &0x8000_0008u32.to_le_bytes());
        check(&mut ports, 7, &[6]);
    }

    #[test]
    fn what_does_not_exist_reads_all_ones() {
        let mut ports = ports();
        for address in [0x8000_0800u32, 0x8000_0100, 0x8001_0000, 0x0000_0000] {
            ports.write(0, &address.to_le_bytes());
            check(&mut ports, 4, &[0xff; 4]);
        }
        ports.write(0, &0x8000_0000u32.to_le_bytes());
        check(&mut ports, 6, &[0xff; 4]);
        check(&mut ports, 1, &[0xff]);
    }

    #[test]
    fn the_reset_port_within_the_address_does_not_change_it() {
        let mut ports = ports();
        ports.write(0, &0x8000_0000u32.to_le_bytes());
        ports.write(1, &[6]);
        ports.write(0, &[1]);
        check(&mut ports, 0, &[0, 0, 0, 0x80]);
    }
}
