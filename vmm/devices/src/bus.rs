//! Which device answers at an address.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

/// A device behind a bus address. It learns offsets into its own window, never guest addresses.
///
/// Port I/O has the same shape, so devices on ports implement this too.
pub trait MmioDevice: Send {
    /// Fills `data` with what the guest reads at `offset`.
    fn read(&mut self, offset: u64, data: &mut [u8]);

    /// Takes what the guest writes at `offset`.
    fn write(&mut self, offset: u64, data: &[u8]);
}

/// A device as the bus holds it.
pub type SharedDevice = Arc<Mutex<dyn MmioDevice>>;

/// A window can't be where it was asked to be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// It is empty, or ends beyond the last address.
    #[error("window of {len:#x} bytes at {start:#x} is not an address range")]
    NoRange {
        /// Its first address.
        start: u64,
        /// Its length.
        len: u64,
    },
    /// Some other device answers there.
    #[error("window of {len:#x} bytes at {start:#x} overlaps another")]
    Overlap {
        /// Its first address.
        start: u64,
        /// Its length.
        len: u64,
    },
}

struct Window {
    last: u64,
    device: SharedDevice,
}

/// Non-overlapping windows of an address space. One for memory-mapped devices, one for ports.
///
/// Windows may change while vCPUs run: an access sees the bus as it was before or after, never
/// between.
#[derive(Default)]
pub struct Bus {
    windows: RwLock<BTreeMap<u64, Window>>,
}

impl Bus {
    /// A bus without devices.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `device` answer at `len` addresses from `start` on.
    pub fn insert(&self, start: u64, len: u64, device: SharedDevice) -> Result<(), BusError> {
        let mut windows = self.windows.write();
        insert(&mut windows, start, len, device)
    }

    /// Ends the window that begins at `start`, and gives its device back.
    pub fn remove(&self, start: u64) -> Option<SharedDevice> {
        self.windows.write().remove(&start).map(|w| w.device)
    }

    /// Moves the window at `from` to `to`, in one step. A window that can't be there is gone.
    pub fn relocate(&self, from: u64, to: u64) -> Result<(), BusError> {
        let mut windows = self.windows.write();
        let Some(window) = windows.remove(&from) else {
            return Ok(());
        };
        insert(&mut windows, to, window.last - from + 1, window.device)
    }

    /// Reads from the device at `address`; false if there is none for the whole of `data`.
    #[must_use]
    pub fn read(&self, address: u64, data: &mut [u8]) -> bool {
        match self.find(address, data.len()) {
            Some((offset, device)) => device.lock().read(offset, data),
            None => return false,
        }
        true
    }

    /// Writes to the device at `address`; false if there is none for the whole of `data`.
    #[must_use]
    pub fn write(&self, address: u64, data: &[u8]) -> bool {
        match self.find(address, data.len()) {
            Some((offset, device)) => device.lock().write(offset, data),
            None => return false,
        }
        true
    }

    /// The device is handed out, not called under our lock, because it may move windows itself.
    fn find(&self, address: u64, len: usize) -> Option<(u64, SharedDevice)> {
        let last = address.checked_add(u64::try_from(len).ok()?.checked_sub(1)?)?;
        let windows = self.windows.read();
        let (start, window) = windows.range(..=address).next_back()?;
        (last <= window.last).then(|| (address - start, Arc::clone(&window.device)))
    }
}

fn insert(
    windows: &mut BTreeMap<u64, Window>,
    start: u64,
    len: u64,
    device: SharedDevice,
) -> Result<(), BusError> {
    let last = len
        .checked_sub(1)
        .and_then(|more| start.checked_add(more))
        .ok_or(BusError::NoRange { start, len })?;
    let before = windows.range(..=last).next_back();
    if before.is_some_and(|(_, window)| window.last >= start) {
        return Err(BusError::Overlap { start, len });
    }
    windows.insert(start, Window { last, device });
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Answers with the offset it was read at.
    struct Echo;

    impl MmioDevice for Echo {
        fn read(&mut self, offset: u64, data: &mut [u8]) {
            data.fill(u8::try_from(offset & 0xff).unwrap());
        }
        fn write(&mut self, _offset: u64, _data: &[u8]) {}
    }

    fn echo() -> SharedDevice {
        Arc::new(Mutex::new(Echo))
    }

    #[test]
    fn a_device_learns_offsets_into_its_window() {
        let bus = Bus::new();
        bus.insert(0x1000, 0x100, echo()).unwrap();
        let mut byte = [0];
        assert!(bus.read(0x1042, &mut byte));
        assert_eq!(byte, [0x42]);
    }

    #[test]
    fn nobody_answers_outside_a_window_or_across_its_end() {
        let bus = Bus::new();
        bus.insert(0x1000, 0x100, echo()).unwrap();
        assert!(!bus.read(0xfff, &mut [0]));
        assert!(!bus.read(0x1100, &mut [0]));
        assert!(!bus.read(0x10fe, &mut [0; 4]));
        assert!(!bus.read(0x1000, &mut []));
        assert!(!bus.write(u64::MAX, &[0; 8]));
    }

    #[test]
    fn windows_do_not_overlap() {
        let bus = Bus::new();
        bus.insert(0x1000, 0x100, echo()).unwrap();
        for (start, len) in [(0x1000, 1), (0xf80, 0x81), (0x10ff, 1), (0, 0x10000)] {
            assert!(matches!(
                bus.insert(start, len, echo()),
                Err(BusError::Overlap { .. })
            ));
        }
        assert!(matches!(
            bus.insert(u64::MAX, 2, echo()),
            Err(BusError::NoRange { .. })
        ));
        assert!(matches!(
            bus.insert(0, 0, echo()),
            Err(BusError::NoRange { .. })
        ));
        bus.insert(0x1100, 1, echo()).unwrap();
        bus.insert(0xfff, 1, echo()).unwrap();
    }

    #[test]
    fn a_relocated_window_answers_at_its_new_address_only() {
        let bus = Bus::new();
        bus.insert(0x1000, 0x100, echo()).unwrap();
        bus.relocate(0x1000, 0x1080).unwrap();
        assert!(!bus.read(0x1000, &mut [0]));
        assert!(bus.read(0x117f, &mut [0]));
    }

    proptest! {
        #[test]
        fn the_bus_agrees_with_a_table_of_owners(
            inserts in proptest::collection::vec((0u64..64, 1u64..16), 1..20),
            reads in proptest::collection::vec((0u64..96, 1usize..9), 1..40),
        ) {
            let bus = Bus::new();
            let mut owner = [None; 128];
            for (start, len) in inserts {
                let range = usize::try_from(start).unwrap()..usize::try_from(start + len).unwrap();
                let free = owner[range.clone()].iter().all(Option::is_none);
                prop_assert_eq!(bus.insert(start, len, echo()).is_ok(), free);
                if free {
                    owner[range].fill(Some(start));
                }
            }
            for (address, len) in reads {
                let first = usize::try_from(address).unwrap();
                let wanted = owner[first].is_some()
                    && owner[first..first + len].iter().all(|o| *o == owner[first]);
                prop_assert_eq!(bus.read(address, &mut vec![0; len]), wanted);
            }
        }
    }
}
