//! What the root bus asks of a device in one of its slots.

use super::ConfigSpace;

/// A device on PCI bus 0, as its function 0. Its one BAR, if any, is BAR 0: 32 bits, memory.
pub trait PciFunction: Send {
    /// Its configuration space as the guest has programmed it.
    fn config(&mut self) -> &mut ConfigSpace;

    /// Fills `data` from configuration space. `data` does not cross its end.
    fn read_config(&mut self, offset: u16, data: &mut [u8]) {
        self.config().read(offset, data);
    }

    /// Takes a write to configuration space. The root sees to it afterwards that the BAR answers
    /// where it was programmed to.
    fn write_config(&mut self, offset: u16, data: &[u8]) {
        self.config().write(offset, data);
    }

    /// Fills `data` from what the BAR holds at `offset`.
    fn read_bar(&mut self, offset: u64, data: &mut [u8]);

    /// Takes a write into the BAR.
    fn write_bar(&mut self, offset: u64, data: &[u8]);

    /// The BAR answers at `address` from now on, or nowhere.
    fn bar_moved(&mut self, address: Option<u64>);

    /// The function was taken out. It stops touching guest memory.
    fn unplugged(&mut self);
}
