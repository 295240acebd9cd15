//! The 256 bytes of a function's configuration space, with a type 0 header (PCI 3.0 §6.1).

const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const BAR0: usize = 0x10;
const CAPABILITIES: usize = 0x34;
const FIRST_CAPABILITY: usize = 0x40;

/// Bit of the command register by which a guest lets a function answer in memory space.
const COMMAND_MEMORY: u8 = 1 << 1;
/// What a guest may change there beside: bus mastering, and that legacy interrupts are off.
const COMMAND_WRITABLE: [u8; 2] = [COMMAND_MEMORY | 1 << 2, 1 << 2];
const STATUS_CAPABILITY_LIST: u8 = 1 << 4;

/// What a function is, for the guest to find a driver by.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Vendor.
    pub vendor: u16,
    /// Device, of that vendor.
    pub device: u16,
    /// Revision.
    pub revision: u8,
    /// Base class, sub-class and programming interface, as `0xbbsspp`.
    pub class: u32,
    /// Who built it in.
    pub subsystem_vendor: u16,
    /// What into.
    pub subsystem: u16,
}

/// Configuration space: bytes, and which of their bits the guest may change.
#[derive(Debug)]
pub struct ConfigSpace {
    bytes: [u8; Self::SIZE],
    writable: [u8; Self::SIZE],
    next_capability: usize,
    last_link: usize,
    bar_size: Option<u32>,
}

impl ConfigSpace {
    /// Length in bytes.
    pub const SIZE: usize = 256;

    /// The space of a function with no capabilities yet and a BAR of `bar_size` bytes, a power of
    /// two from 16.
    pub fn new(identity: &Identity, bar_size: Option<u32>) -> Self {
        let mut space = Self {
            bytes: [0; Self::SIZE],
            writable: [0; Self::SIZE],
            next_capability: FIRST_CAPABILITY,
            last_link: CAPABILITIES,
            bar_size,
        };
        space.put(0x00, &identity.vendor.to_le_bytes());
        space.put(0x02, &identity.device.to_le_bytes());
        space.put(0x08, &(identity.class << 8).to_le_bytes());
        space.put(0x08, &[identity.revision]);
        space.put(0x2c, &identity.subsystem_vendor.to_le_bytes());
        space.put(0x2e, &identity.subsystem.to_le_bytes());
        // Cache line size and interrupt line hold what the guest puts there and mean nothing.
        space.allow(0x0c, &[0xff]);
        space.allow(0x3c, &[0xff]);
        space.allow(COMMAND, &COMMAND_WRITABLE);
        if let Some(size) = bar_size {
            assert!(
                size >= 16 && size.is_power_of_two(),
                "a BAR's size is a power of two"
            );
            // A guest learns the size from which bits stay zero.
            space.allow(BAR0, &(!(size - 1)).to_le_bytes());
        }
        space
    }

    /// Appends a capability with the given `id`. `body` begins after the link; `writable` has a bit
    /// for each of its bits that the guest may change. Gives the offset of the capability.
    pub fn add_capability(&mut self, id: u8, body: &[u8], writable: &[u8]) -> u16 {
        let start = self.next_capability;
        let link = u8::try_from(start).expect("capabilities fit into the space");
        self.put(start, &[id, 0]);
        self.put(start + 2, body);
        self.allow(start + 2, writable);
        self.put(self.last_link, &[link]);
        self.bytes[STATUS] |= STATUS_CAPABILITY_LIST;
        self.last_link = start + 1;
        self.next_capability = (start + 2 + body.len()).next_multiple_of(4);
        link.into()
    }

    /// Fills `data` from the bytes at `offset`; there are only zeros beyond the end.
    pub fn read(&self, offset: u16, data: &mut [u8]) {
        for (byte, at) in data.iter_mut().zip(usize::from(offset)..) {
            *byte = self.bytes.get(at).copied().unwrap_or(0);
        }
    }

    /// Takes a guest's write; bits it may not change stay.
    pub fn write(&mut self, offset: u16, data: &[u8]) {
        for (new, at) in data.iter().zip(usize::from(offset)..Self::SIZE) {
            let mask = self.writable[at];
            self.bytes[at] = (self.bytes[at] & !mask) | (new & mask);
        }
    }

    /// Size of the BAR, if there is one.
    pub fn bar_size(&self) -> Option<u32> {
        self.bar_size
    }

    /// Where the BAR was programmed to be, whether or not it is decoded there.
    pub fn bar(&self) -> u32 {
        let mut bar = [0; 4];
        bar.copy_from_slice(&self.bytes[BAR0..BAR0 + 4]);
        u32::from_le_bytes(bar)
    }

    /// Puts the BAR at `address`, as firmware does.
    pub fn set_bar(&mut self, address: u32) {
        self.put(BAR0, &address.to_le_bytes());
    }

    /// Whether the guest lets the BAR answer.
    pub fn decodes_memory(&self) -> bool {
        self.bytes[COMMAND] & COMMAND_MEMORY != 0
    }

    /// The 16 bits at `offset`.
    pub fn word(&self, offset: u16) -> u16 {
        let mut word = [0; 2];
        self.read(offset, &mut word);
        u16::from_le_bytes(word)
    }

    fn put(&mut self, at: usize, data: &[u8]) {
        self.bytes[at..at + data.len()].copy_from_slice(data);
    }

    fn allow(&mut self, at: usize, mask: &[u8]) {
        self.writable[at..at + mask.len()].copy_from_slice(mask);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDENTITY: Identity = Identity {
        vendor: 0x1234,
        device: 0x5678,
        revision: 9,
        class: 0x01_02_03,
        subsystem_vendor: 0xaaaa,
        subsystem: 0xbbbb,
    };

    fn space() -> ConfigSpace {
        let mut space = ConfigSpace::new(&IDENTITY, Some(0x4000));
        space.add_capability(0x11, &[1, 2, 3], &[0xff, 0, 0]);
        space.add_capability(0x09, &[4], &[]);
        space
    }

    #[test]
    fn a_guest_learns_what_the_function_is() {
        let mut data = [0; 12];
        space().read(0, &mut data);
        assert_eq!(data, [0x34, 0x12, 0x78, 0x56, 0, 0, 0x10, 0, 9, 3, 2, 1]);
        assert_eq!(space().word(0x2c), 0xaaaa);
        assert_eq!(space().word(0x2e), 0xbbbb);
    }

    #[test]
    fn capabilities_form_a_list() {
        let space = space();
        let mut data = [0; 5];
        space.read(0x34, &mut data[..1]);
        assert_eq!(data[0], 0x40);
        space.read(0x40, &mut data);
        assert_eq!(data, [0x11, 0x48, 1, 2, 3]);
        space.read(0x48, &mut data[..3]);
        assert_eq!(data[..3], [0x09, 0, 4]);
    }

    #[test]
    fn a_guest_sizes_the_bar_and_moves_it() {
        let mut space = space();
        space.set_bar(0xc000_0000);
        space.write(0x10, &[0xff; 4]);
        assert_eq!(space.bar(), 0xffff_c000);
        space.write(0x10, &0xd000_1234u32.to_le_bytes());
        assert_eq!(space.bar(), 0xd000_0000);
        space.write(0x14, &[0xff; 4]);
        assert_eq!(space.word(0x14), 0, "there is no second BAR");
    }

    proptest! {
        #[test]
        fn a_guest_changes_only_what_it_may(
            writes in proptest::collection::vec(
                (any::<u16>(), proptest::collection::vec(any::<u8>(), 0..9)), 0..50,
            ),
        ) {
            let (before, mut space) = (space(), space());
            for (offset, data) in writes {
                space.write(offset, &data);
            }
            for at in 0..ConfigSpace::SIZE {
                prop_assert_eq!((before.bytes[at] ^ space.bytes[at]) & !space.writable[at], 0);
            }
        }
    }
}
