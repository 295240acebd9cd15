//! The host bridge in slot 0, by which a guest recognises that there is a PCI bus.

use super::{ConfigSpace, Identity, PciFunction};

/// A generic PCI Express host bridge (Red Hat, 0x0008). It does nothing.
pub struct HostBridge {
    config: ConfigSpace,
}

impl HostBridge {
    /// The bridge.
    pub fn new() -> Self {
        let identity = Identity {
            vendor: 0x1b36,
            device: 0x0008,
            revision: 0,
            class: 0x06_00_00,
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
        };
        Self {
            config: ConfigSpace::new(&identity, None),
        }
    }
}

impl Default for HostBridge {
    fn default() -> Self {
        Self::new()
    }
}

impl PciFunction for HostBridge {
    fn config(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn read_bar(&mut self, _offset: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn write_bar(&mut self, _offset: u64, _data: &[u8]) {}

    fn bar_moved(&mut self, _address: Option<u64>) {}

    fn unplugged(&mut self) {}
}
