//! Bus 0: slots that functions are plugged into, and where their BARs answer.

use std::ops::Range;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{ConfigSpace, PciFunction, host_bridge::HostBridge};
use crate::bus::{Bus, MmioDevice};
use crate::guest_warn;

/// Slots of a bus; the first has the host bridge.
pub const SLOTS: u8 = 32;

type SharedFunction = Arc<Mutex<dyn PciFunction>>;

/// A function can't be plugged in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlugError {
    /// All slots are taken.
    #[error("find a free PCI slot: all {SLOTS} are taken")]
    NoSlot,
    /// All addresses are taken.
    #[error("place a BAR of {size:#x} bytes: no room in the PCI window")]
    NoAddress {
        /// Size of the BAR.
        size: u32,
    },
}

struct Slot {
    function: SharedFunction,
    /// Where its BAR answers at present.
    mapped: Option<u64>,
}

/// The root complex. Configuration accesses of all vCPUs go through it one at a time.
pub struct PciRoot {
    slots: Mutex<Vec<Option<Slot>>>,
    /// Weak, because the bus holds us through the windows onto configuration space.
    bus: Weak<Bus>,
    window: Range<u32>,
}

impl PciRoot {
    /// Bus 0, with only a host bridge. BARs answer on `bus`, inside `window`, which is what the
    /// firmware tables tell the guest.
    pub fn new(bus: Arc<Bus>, window: Range<u32>) -> Arc<Self> {
        let mut slots: Vec<_> = std::iter::repeat_with(|| None).take(SLOTS.into()).collect();
        slots[0] = Some(Slot {
            function: Arc::new(Mutex::new(HostBridge::new())),
            mapped: None,
        });
        Arc::new(Self {
            slots: Mutex::new(slots),
            bus: Arc::downgrade(&bus),
            window,
        })
    }

    /// Puts `function` into the first free slot and gives its number. A running guest finds it when
    /// it rescans.
    pub fn plug(&self, function: impl PciFunction + 'static) -> Result<u8, PlugError> {
        let mut slots = self.slots.lock();
        let free = (0..SLOTS).find(|slot| slots[usize::from(*slot)].is_none());
        let slot = free.ok_or(PlugError::NoSlot)?;
        let mut function = function;
        self.place(&slots, function.config())?;
        slots[usize::from(slot)] = Some(Slot {
            function: Arc::new(Mutex::new(function)),
            mapped: None,
        });
        Ok(slot)
    }

    /// Takes the function in `slot` out; false if there is none. Its driver should be gone by then;
    /// one that is not reads all ones, as from any slot without a device.
    pub fn unplug(&self, slot: u8) -> bool {
        let mut slots = self.slots.lock();
        let taken = match slots.get_mut(usize::from(slot)) {
            Some(entry) if slot > 0 => entry.take(),
            _ => None,
        };
        let Some(Slot { function, mapped }) = taken else {
            return false;
        };
        if let (Some(bus), Some(address)) = (self.bus.upgrade(), mapped) {
            bus.remove(address);
        }
        let mut function = function.lock();
        function.bar_moved(None);
        function.unplugged();
        true
    }

    /// Fills `data` from the configuration space of the function in `slot`.
    pub fn read_config(&self, slot: u8, offset: u16, data: &mut [u8]) {
        match self.slots.lock().get(usize::from(slot)) {
            Some(Some(slot)) => slot.function.lock().read_config(offset, data),
            _ => data.fill(0xff),
        }
    }

    /// Takes a write to the configuration space of the function in `slot`.
    pub fn write_config(&self, slot: u8, offset: u16, data: &[u8]) {
        if let Some(Some(entry)) = self.slots.lock().get_mut(usize::from(slot)) {
            entry.function.lock().write_config(offset, data);
            self.follow(slot, entry);
        }
    }

    /// Chooses a first place for a BAR, as firmware does. The guest may choose another.
    fn place(&self, slots: &[Option<Slot>], config: &mut ConfigSpace) -> Result<(), PlugError> {
        let Some(size) = config.bar_size() else {
            return Ok(());
        };
        let taken: Vec<Range<u64>> = slots.iter().flatten().filter_map(programmed).collect();
        let free = |start: u64| {
            let end = start + u64::from(size);
            taken.iter().all(|t| end <= t.start || t.end <= start)
        };
        let (first, end) = (u64::from(self.window.start), u64::from(self.window.end));
        let start = (first.next_multiple_of(size.into())..end)
            .step_by(size as usize)
            .take_while(|start| start + u64::from(size) <= end)
            .find(|start| free(*start))
            .and_then(|start| u32::try_from(start).ok())
            .ok_or(PlugError::NoAddress { size })?;
        config.set_bar(start);
        Ok(())
    }

    /// Makes a BAR answer where the guest programmed it, after any write to its function.
    fn follow(&self, number: u8, slot: &mut Slot) {
        let Some(bus) = self.bus.upgrade() else {
            return;
        };
        let wanted = self.wanted(&slot.function);
        let target = wanted.as_ref().map(|range| range.start);
        if target == slot.mapped {
            return;
        }
        let moved = match (slot.mapped, wanted) {
            (Some(from), Some(to)) => bus.relocate(from, to.start),
            (Some(from), None) => {
                bus.remove(from);
                Ok(())
            }
            (None, Some(to)) => {
                let bar = Bar(Arc::clone(&slot.function));
                let size = to.end - to.start;
                bus.insert(to.start, size, Arc::new(Mutex::new(bar)))
            }
            (None, None) => Ok(()),
        };
        slot.mapped = target;
        if let Err(error) = moved {
            guest_warn!(slot = number, %error, "the guest put a BAR where it can't be");
            slot.mapped = None;
        }
        slot.function.lock().bar_moved(slot.mapped);
    }

    /// Where a BAR should answer: nowhere unless it is enabled and inside the window.
    fn wanted(&self, function: &SharedFunction) -> Option<Range<u64>> {
        let mut function = function.lock();
        let config = function.config();
        let size = config.bar_size()?;
        let start = config.bar();
        let inside = start >= self.window.start
            && start
                .checked_add(size)
                .is_some_and(|end| end <= self.window.end);
        (config.decodes_memory() && inside)
            .then(|| u64::from(start)..u64::from(start) + u64::from(size))
    }
}

/// The addresses a function's BAR is programmed to, decoded or not.
fn programmed(slot: &Slot) -> Option<Range<u64>> {
    let mut function = slot.function.lock();
    let config = function.config();
    let start = u64::from(config.bar());
    Some(start..start + u64::from(config.bar_size()?))
}

/// A function's BAR on the memory bus.
struct Bar(SharedFunction);

impl MmioDevice for Bar {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        self.0.lock().read_bar(offset, data);
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        self.0.lock().write_bar(offset, data);
    }
}

#[cfg(test)]
mod tests;
